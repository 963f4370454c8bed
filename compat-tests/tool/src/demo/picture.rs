//! The picture has a row of bars for each way to restart, and a colour for each version.

use std::fmt::Write;
use std::time::Duration;

use super::{DEPLOYS, LENGTH, Outcome, PERIOD, Seen};

const BIN: Duration = Duration::from_millis(50);

const WIDTH: usize = 860;
const LEFT: usize = 10;
const ROW: usize = 62;
const TOP: usize = 62;
const HEIGHT: usize = 36;

/// Classes and their names, from the bottom of a bar to its top.
const KINDS: [(&str, &str); 5] = [
    ("version1", "version 1"),
    ("version2", "version 2"),
    ("version3", "version 3"),
    ("late", "answered late"),
    ("failed", "failed"),
];

const STYLE: &str = r#"<title>What clients see of deploys</title>
<desc>Requests in each twentieth of a second, by the version that answered, in four rows. Made by scripts/demo from a real run.</desc>
<style>
.ground { fill: #fff } text { fill: #1f2328 } .small { font-size: 12px; fill: #59636e } .mark { stroke: #818b98; stroke-dasharray: 3 3 }
.version1 { fill: #54aeff } .version2 { fill: #0969da } .version3 { fill: #0a3069 } .late { fill: #d4a72c } .failed { fill: #cf222e }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 } .mark { stroke: #656c76 }
.version1 { fill: #1f6feb } .version2 { fill: #58a6ff } .version3 { fill: #cae8ff } .late { fill: #d29922 } .failed { fill: #f85149 }
}
</style>
<rect class="ground" width="100%" height="100%"/>
"#;

pub fn of(rows: &[Seen]) -> String {
    // Writing to a string can't fail.
    draw(rows).unwrap_or_default()
}

fn draw(rows: &[Seen]) -> Result<String, std::fmt::Error> {
    let bottom = TOP + ROW * rows.len();
    let height = bottom + 34;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n{STYLE}"
    );
    let mut left = LEFT;
    for (class, name) in KINDS {
        writeln!(
            svg,
            r#"<rect class="{class}" x="{left}" y="8" width="12" height="12"/><text x="{}" y="18">{name}</text>"#,
            left + 17
        )?;
        left += 44 + 7 * name.len();
    }
    for deploy in &DEPLOYS {
        let (x, title) = (x(deploy.at), deploy.title);
        writeln!(
            svg,
            r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="46" y2="{bottom}"/><text class="small" x="{x:.1}" y="42">{title}</text>"#
        )?;
    }
    for (index, row) in rows.iter().enumerate() {
        let base = TOP + ROW * index + 22 + HEIGHT;
        let (above, right) = (base - HEIGHT - 6, WIDTH - LEFT);
        let (name, failed) = (row.name, failures(row));
        writeln!(
            svg,
            r#"<text x="{LEFT}" y="{above}">{name}</text><text class="small" x="{right}" y="{above}" text-anchor="end">{failed}</text>"#
        )?;
        svg += &bars(row, base)?;
    }
    for second in [4, 8, 12] {
        let x = x(Duration::from_secs(second));
        let y = bottom + 20;
        writeln!(svg, r#"<text class="small" x="{x:.1}" y="{y}" text-anchor="middle">{second} s</text>"#)?;
    }
    Ok(svg + "</svg>\n")
}

fn x(time: Duration) -> f64 {
    place(LEFT) + place(WIDTH - 2 * LEFT) * time.div_duration_f64(LENGTH)
}

fn place(pixels: usize) -> f64 {
    f64::from(u32::try_from(pixels).unwrap_or(u32::MAX))
}

fn failures(row: &Seen) -> String {
    let all = row.requests.len();
    match row.requests.iter().filter(|request| request.outcome == Outcome::Failed).count() {
        0 => format!("none of {all} requests failed"),
        failed => format!("{failed} of {all} requests failed"),
    }
}

/// The class of a request, as its place in `KINDS`.
fn kind(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Failed => 4,
        Outcome::Answered { is_late: true, .. } => 3,
        Outcome::Answered { version, .. } => usize::try_from(version).unwrap_or(usize::MAX).clamp(1, 3) - 1,
    }
}

/// A path for each class.
fn bars(row: &Seen, base: usize) -> Result<String, std::fmt::Error> {
    let bins = usize::try_from(LENGTH.as_millis() / BIN.as_millis()).unwrap_or_default();
    let mut counts = [(); KINDS.len()].map(|()| vec![0_u32; bins]);
    for request in &row.requests {
        let bin = usize::try_from(request.due.as_micros() / BIN.as_micros()).unwrap_or_default();
        counts[kind(request.outcome)][bin] += 1;
    }
    let width = x(BIN) - x(Duration::ZERO);
    let of_one = place(HEIGHT) * PERIOD.div_duration_f64(BIN);
    let mut tops = vec![0.0; bins];
    let mut svg = String::new();
    for ((class, _), counts) in KINDS.iter().zip(counts) {
        let mut path = String::new();
        for (bin, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let height = of_one * f64::from(count);
            let x = x(BIN * u32::try_from(bin).unwrap_or_default());
            write!(path, "M{x:.1} {:.0}h{width:.1}v-{height:.0}h-{width:.1}z", place(base) - tops[bin])?;
            tops[bin] += height;
        }
        if !path.is_empty() {
            writeln!(svg, r#"<path class="{class}" d="{path}"/>"#)?;
        }
    }
    Ok(svg)
}
