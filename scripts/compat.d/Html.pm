# The report as one page, without anything from elsewhere.
package Html;
use strict;
use warnings;

sub escaped {
    my %entities = ("&" => "&amp;", "<" => "&lt;", ">" => "&gt;", '"' => "&quot;");
    return $_[0] =~ s/([&<>"])/$entities{$1}/gr;
}

sub page {
    my %of = @_;
    my $grades = join "", map { grade(@$_) } @{ $of{grades} };
    my $causes = join "", map { cause(@$_) } @{ $of{causes} };
    my %rules = map { $_ => 1 } map { @{ $_->{rules} } } @{ $of{different} };
    my $kinds = join "", map { qq(<option value="$_->[0]">$_->[1]</option>) } @{ $of{kinds} };
    my $rules = join "", map { "<option>" . escaped($_) . "</option>" } sort keys %rules;
    my $different = join "", map { scenario($_) } @{ $of{different} };
    my ($candidate, $summary) = (escaped($of{candidate}), escaped($of{summary}));
    my $nothing = @{ $of{different} } ? "" : "<p>Nothing differs, except on purpose.</p>";
    my $filter = @{ $of{different} } ? <<"END" : "";
<form role="search" aria-label="Filter">
<label>What differs <select id="kind"><option value="">anything</option>$kinds</select></label>
<label>Rule <select id="rule"><option value="">any</option>$rules</select></label>
<output id="shown" aria-live="polite"></output>
</form>
END
    return <<"END";
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Conformance of $candidate</title>
<style>${\ style()}</style>
</head>
<body>
<main>
<h1>Conformance of <code>$candidate</code></h1>
<p class="summary">$summary</p>
<h2>Grades</h2>
<table class="grades"><thead><tr><th scope="col">Observed</th><th scope="col">Per cent</th><th scope="col"><span class="hidden">Bar</span></th>
<th scope="col">Scenarios</th></tr></thead><tbody>
$grades</tbody></table>
<h2>What explains most</h2>
$nothing$causes
<h2>All differences</h2>
$filter$different
</main>
<script>${\ script()}</script>
</body>
</html>
END
}

sub grade {
    my ($name, $percent, $scenarios) = @_;
    my $is = $percent >= 99.95 ? "full" : $percent >= 80 ? "most" : "less";
    return qq(<tr><th scope="row">$name</th><td>$percent</td>)
        . qq(<td class="bar"><span class="$is" style="width:$percent%"></span></td><td>$scenarios</td></tr>\n);
}

sub cause {
    my ($line, $count, $scenario) = @_;
    my $times = $count == 1 ? "1 scenario" : "$count scenarios";
    my $name = escaped($scenario->{name});
    my $whole = coloured(first_lines($scenario->{difference}, 13));
    return qq(<section><h3>$times</h3><pre tabindex="0">) . coloured($line)
        . qq(</pre><details class="of-cause"><summary>as in $name</summary><pre tabindex="0">$whole</pre>)
        . qq(<p><a href="#$name">both transcripts</a></p></details></section>\n);
}

sub first_lines {
    my ($text, $most) = @_;
    my @lines = split /\n/, $text;
    return join "\n", @lines <= $most ? @lines : (@lines[ 0 .. $most - 1 ], "...");
}

sub coloured {
    return join "\n", map { my $class = /^-/ ? "del" : /^\+/ ? "ins" : ""; $class ? "<$class>" . escaped($_) . "</$class>" : escaped($_) }
        split /\n/, $_[0];
}

sub scenario {
    my ($scenario) = @_;
    my $name = escaped($scenario->{name});
    my $kinds = join " ", grep { $scenario->{grades}{$_} < 1 } sort keys %{ $scenario->{grades} };
    my $rules = escaped(join " ", @{ $scenario->{rules} });
    my ($left, $right) = map { first_lines($_, 400) } @{$scenario}{ "reference", "candidate" };
    my ($of_left, $of_right) = marked($left, $right);
    my $sides = $left eq "" && $right eq ""
        ? "<pre>" . coloured($scenario->{difference}) . "</pre>"
        : qq(<div class="sides"><section><h4>reference</h4><pre tabindex="0">$of_left</pre></section>)
        . qq(<section><h4>candidate</h4><pre tabindex="0">$of_right</pre></section></div>);
    return qq(<details id="$name" data-kinds="$kinds" data-rules="$rules"><summary>$name <small>$rules</small></summary>$sides</details>\n);
}

# Each side with those of its lines marked that the other doesn't have.
sub marked {
    my ($left, $right) = @_;
    my @sides;
    for my $pair ([ $left, $right, "del" ], [ $right, $left, "ins" ]) {
        my ($text, $other, $class) = @$pair;
        my %of_other;
        $of_other{$_}++ for split /\n/, $other;
        push @sides, join "\n", map { ($of_other{$_} // 0) > 0 && $of_other{$_}-- ? escaped($_) : "<$class>" . escaped($_) . "</$class>" } split /\n/, $text;
    }
    return @sides;
}

sub style {
    return <<'END';
:root { --back: #fff; --text: #1c1e21; --soft: #5a6068; --line: #d5d9de; --panel: #f5f6f8; --link: #0b57a4;
  --full: #2e7d46; --most: #b07400; --less: #b3362b; --del: #fbe3e0; --ins: #ddf1e2; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e4e6e9; --soft: #a2a8b0; --line: #3a3f45; --panel: #1f2226; --link: #7ab7f5;
    --full: #5dbb7b; --most: #e0a63a; --less: #ec7a6e; --del: #4a2522; --ins: #1d3d28; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; overflow-wrap: anywhere; }
h4 { margin: .5rem 0 .2rem; font-size: .85rem; color: var(--soft); }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.summary { font-size: 1.1rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .5rem; text-align: left; border-bottom: 1px solid var(--line); font-weight: normal; }
thead th { color: var(--soft); font-size: .85rem; }
td:nth-child(2), td:nth-child(4), th:nth-child(2), th:nth-child(4) { text-align: right; font-variant-numeric: tabular-nums; width: 6rem; }
.bar { width: 40%; } .bar span { display: block; height: .7rem; border-radius: 2px; min-width: 1px; }
.full { background: var(--full); } .most { background: var(--most); } .less { background: var(--less); }
pre { margin: .3rem 0; padding: .6rem; background: var(--panel); border: 1px solid var(--line); border-radius: 4px; overflow-x: auto;
  font: .8rem/1.45 ui-monospace, monospace; white-space: pre; }
del, ins { text-decoration: none; display: inline-block; min-width: 100%; } del { background: var(--del); } ins { background: var(--ins); }
form { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center; margin-bottom: 1rem; }
select { font: inherit; padding: .2rem; max-width: 18rem; }
details { border-bottom: 1px solid var(--line); } summary { padding: .4rem 0; cursor: pointer; overflow-wrap: anywhere; }
small { color: var(--soft); }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: .8rem; padding-bottom: .8rem; }
@media (max-width: 48rem) { .sides { grid-template-columns: minmax(0, 1fr); } .bar { width: 25%; }
  td:nth-child(2), td:nth-child(4), th:nth-child(2), th:nth-child(4) { width: auto; } }
END
}

sub script {
    return <<'END';
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
if (kind) { kind.addEventListener("change", filter); rule.addEventListener("change", filter); filter(); }
addEventListener("hashchange", open);
open();
END
}

1;
