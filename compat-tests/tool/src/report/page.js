"use strict";
const all = [...document.querySelectorAll("details[data-kinds]")];
const kind = document.getElementById("kind"), rule = document.getElementById("rule"), shown = document.getElementById("shown");
function filter() {
  let count = 0;
  for (const details of all) {
    const has = (select, list) => !select.value || list.split(" ").includes(select.value);
    details.hidden = !(has(kind, details.dataset.kinds) && has(rule, details.dataset.rules));
    count += details.hidden ? 0 : 1;
  }
  shown.value = `${count} of ${all.length} scenarios`;
}
function open() {
  const there = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (there instanceof HTMLDetailsElement) { there.hidden = false; there.open = true; there.scrollIntoView(); }
}
if (kind) { kind.form.hidden = false; kind.addEventListener("change", filter); rule.addEventListener("change", filter); filter(); }
addEventListener("hashchange", open);
open();
