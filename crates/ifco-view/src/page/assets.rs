//! The page's own files, which the command carries inside.

use crate::color::Theme;

const HTML: &str = include_str!("assets/page.html");
const CSS: &str = include_str!("assets/page.css");

/// The styles, with the colours of the pictures as variables before them.
pub(super) fn css() -> String {
    let variables = |theme: Theme| {
        let named = [
            ("paper", theme.paper()),
            ("ink", theme.ink()),
            ("muted", theme.muted()),
            ("grid", theme.grid()),
            ("up", theme.diverging(0.7)),
            ("down", theme.diverging(-0.7)),
        ];
        let named = named.map(|(name, color)| format!("--{name}:{color};"));
        let curves = (0..6).map(|n| format!("--curve{n}:{};", theme.curve(n)));
        let all = named.into_iter().chain(curves).collect::<String>();
        format!(":root{{{all}}}")
    };
    // Paper is light, whatever the screen is.
    format!(
        "{}\n@media screen and (prefers-color-scheme: dark) {{{}}}\n{CSS}",
        variables(Theme::Light),
        variables(Theme::Dark),
    )
}

/// The script: each file a part of one function, so that nothing of it is a name outside.
pub(super) fn script() -> String {
    let parts = [
        include_str!("assets/base.js"),
        include_str!("assets/source.js"),
        include_str!("assets/state.js"),
        include_str!("assets/heat.js"),
        include_str!("assets/packing.js"),
        include_str!("assets/sums.js"),
        include_str!("assets/diagram.js"),
        include_str!("assets/cell.js"),
        include_str!("assets/units.js"),
        include_str!("assets/trace.js"),
        include_str!("assets/flow.js"),
        include_str!("assets/model.js"),
        include_str!("assets/ahead.js"),
        include_str!("assets/start.js"),
    ];
    let mut script = String::from("(() => {\n\"use strict\";\n");
    for part in parts {
        script.push_str(part);
        script.push('\n');
    }
    script.push_str("})();\n");
    script
}

/// The page with its styles, data and script in place.
pub(super) fn html(head: &str, data: &str, script: &str) -> String {
    // What is put in is not looked at again.
    let mut html = String::with_capacity(HTML.len() + head.len() + data.len() + script.len());
    let mut rest = HTML;
    for (mark, text) in [
        ("<!--head-->", head),
        ("<!--data-->", data),
        ("<!--script-->", script),
    ] {
        if let Some((before, after)) = rest.split_once(mark) {
            html.push_str(before);
            html.push_str(text);
            rest = after;
        }
    }
    html.push_str(rest);
    html
}
