//! The page of a report, as chromium shows it on a narrow screen without scripts, in the light and the dark colour
//! scheme.

use std::fs;

use assert_cmd::Command;

/// A frame of 390 pixels in which the page's script doesn't run. The measurements become the title in the dump.
const FRAME: &str = r#"<!DOCTYPE html><iframe width="390" height="800" frameborder="0" sandbox="allow-same-origin" srcdoc="PAGE"></iframe>
<script>
document.querySelector("iframe").onload = event => {
  const page = event.target.contentDocument, view = event.target.contentWindow;
  page.querySelectorAll("details").forEach(details => { details.open = true; });
  const colours = view.getComputedStyle(page.body);
  document.title = [page.documentElement.scrollWidth, page.querySelector("form").checkVisibility(),
    page.querySelectorAll(".sides pre").length, colours.backgroundColor, colours.color].join("|");
};
</script>"#;

#[test]
fn in_a_browser() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let small = format!("--candidate={}/../../perl-fixtures/small_start_server.pl", env!("CARGO_MANIFEST_DIR"));
    let mut tool = Command::new(env!("CARGO_BIN_EXE_start_server-compat"));
    let output = tool.args([&small, "--format=html", "backlog", "repetition"]).assert().code(1);
    let page = String::from_utf8(output.get_output().stdout.clone()).expect("a page in UTF-8");
    let frame = dir.path().join("frame.html");
    fs::write(&frame, FRAME.replace("PAGE", &page.replace('&', "&amp;").replace('"', "&quot;"))).expect("a file");
    for (scheme, back, text) in
        [("1", "rgb(255, 255, 255)", "rgb(28, 30, 33)"), ("0", "rgb(22, 24, 27)", "rgb(228, 230, 233)")]
    {
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]);
        chromium.arg(format!("--user-data-dir={}", dir.path().join(scheme).display()));
        chromium.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
        let dump = chromium.arg(format!("file://{}", frame.display())).assert().success();
        let dump = String::from_utf8_lossy(&dump.get_output().stdout).into_owned();
        let title = dump.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
        let measured: Vec<&str> = title.split('|').collect();
        let [width, filter, transcripts, background, colour] = measured[..] else { panic!("{title}") };
        // Nothing is wider than the screen, and the filter, which needs a script, is hidden.
        assert_eq!((width, filter), ("390", "false"));
        assert!(transcripts.parse::<u32>().is_ok_and(|count| count > 1), "{title}");
        assert_eq!((background, colour), (back, text));
    }
}
