//! A drawing as SVG: the primary form, with tooltips.

use super::canvas::{Anchor, Colour, Drawing, Shape};
use std::fmt::Write;

/// The file.
pub fn render(drawing: &Drawing) -> Vec<u8> {
    let mut out = String::with_capacity(drawing.shapes.len() * 120);
    let (width, height) = (number(drawing.width), number(drawing.height));
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"'DejaVu Sans', Verdana, sans-serif\">"
    );
    let _ = writeln!(out, "<title>{}</title>", escaped(&drawing.title));
    let _ = writeln!(out, "<desc>{}</desc>", escaped(&drawing.description));
    for shape in &drawing.shapes {
        draw(&mut out, shape);
    }
    out.push_str("</svg>\n");
    out.into_bytes()
}

fn draw(out: &mut String, shape: &Shape) {
    let _ = match shape {
        Shape::Rect { area: [x, y, width, height], fill, tip } => {
            let head = format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}",
                number(*x),
                number(*y),
                number(*width),
                number(*height),
                paint("fill", *fill)
            );
            if tip.is_empty() {
                writeln!(out, "{head}/>")
            } else {
                writeln!(out, "{head}><title>{}</title></rect>", escaped(tip))
            }
        }
        Shape::Line { points, colour, width, dashed } => {
            let dash = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke-width=\"{}\" stroke-linejoin=\"round\"{}{dash}/>",
                joined(points),
                number(*width),
                paint("stroke", *colour)
            )
        }
        Shape::Area { points, fill } => {
            writeln!(out, "<polygon points=\"{}\"{}/>", joined(points), paint("fill", *fill))
        }
        Shape::Text { at: (x, y), size, bold, anchor, colour, text } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if *bold { " font-weight=\"bold\"" } else { "" };
            let (x, y, size) = (number(*x), number(*y), number(*size));
            let fill = paint("fill", *colour);
            writeln!(
                out,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor}{weight}{fill}>{}</text>",
                escaped(text)
            )
        }
    };
}

fn paint(attribute: &str, Colour(red, green, blue, opacity): Colour) -> String {
    let colour = format!(" {attribute}=\"#{red:02x}{green:02x}{blue:02x}\"");
    if opacity < 1.0 { format!("{colour} {attribute}-opacity=\"{opacity}\"") } else { colour }
}

fn joined(points: &[(f64, f64)]) -> String {
    let pairs: Vec<String> = points.iter().map(|&(x, y)| format!("{},{}", number(x), number(y))).collect();
    pairs.join(" ")
}

/// At most two decimals: a hundredth of a pixel.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_numbers_short() {
        assert_eq!(escaped("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
        assert_eq!(number(12.0), "12");
        assert_eq!(number(0.126), "0.13");
        assert_eq!(number(-0.001), "0");
    }
}
