//! A drawing as PNG, through plotters' bitmap backend: drawn at twice the size and averaged down, which smooths edges
//! that the backend leaves jagged.

use super::canvas::{Anchor, Colour, Drawing, HEIGHT_PER_EM, Shape, register_fonts};
use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, RGBAColor, ShapeStyle, TextStyle};

const SCALE: f64 = 2.0;

/// The file. `comment` goes into its `Comment` chunk.
pub fn render(drawing: &Drawing, comment: &str) -> Vec<u8> {
    register_fonts();
    let (width, height) = (drawing.width as u32, drawing.height as u32);
    let (wide, high) = (width * SCALE as u32, height * SCALE as u32);
    let mut pixels = vec![255_u8; (wide * high * 3) as usize];
    {
        let mut backend = BitMapBackend::with_buffer(&mut pixels, (wide, high));
        for shape in &drawing.shapes {
            draw(&mut backend, shape);
        }
    }
    encode(&halved(&pixels, wide as usize, high as usize), width, height, comment)
}

fn pixel(value: f64) -> i32 {
    (value * SCALE).round() as i32
}

fn colour(Colour(red, green, blue, opacity): Colour) -> RGBAColor {
    RGBAColor(red, green, blue, opacity)
}

/// Drawing into memory cannot fail; what lies outside is cut off.
fn draw(backend: &mut BitMapBackend, shape: &Shape) {
    let _ = match shape {
        Shape::Rect { area: [x, y, width, height], fill, .. } => {
            let corners = ((pixel(*x), pixel(*y)), (pixel(x + width) - 1, pixel(y + height) - 1));
            if corners.1.0 < corners.0.0 || corners.1.1 < corners.0.1 {
                return;
            }
            backend.draw_rect(corners.0, corners.1, &colour(*fill), true)
        }
        Shape::Line { points, colour: stroke, width, dashed } => {
            let style =
                ShapeStyle { color: colour(*stroke), filled: false, stroke_width: pixel(*width).unsigned_abs() };
            let pieces = if *dashed { dashes(points) } else { vec![points.clone()] };
            for piece in pieces {
                draw_line(backend, &piece, &style);
            }
            Ok(())
        }
        Shape::Area { points, fill } => {
            backend.fill_polygon(points.iter().map(|&(x, y)| (pixel(x), pixel(y))), &colour(*fill))
        }
        Shape::Text { at: (x, y), size, bold, anchor, colour: fill, text } => {
            let style = if *bold { FontStyle::Bold } else { FontStyle::Normal };
            let height = size * HEIGHT_PER_EM * SCALE;
            let font = FontDesc::new(FontFamily::Name("DejaVu Sans"), height, style);
            let horizontal = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let fill = colour(*fill);
            let style = TextStyle::from(font).color(&fill).pos(Pos::new(horizontal, VPos::Top));
            // plotters puts the baseline half the font's height below the top.
            backend.draw_text(text, &style, (pixel(*x), pixel(*y) - (height / 2.0) as i32))
        }
    };
}

/// Level and upright pieces become rectangles, which are exact; others are left to the backend.
fn draw_line(backend: &mut BitMapBackend, points: &[(f64, f64)], style: &ShapeStyle) {
    let half = f64::from(style.stroke_width) / 2.0;
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        if ax == bx || ay == by {
            let low = |value: f64| (value * SCALE - half).round() as i32;
            let high = |value: f64| (value * SCALE + half).round() as i32 - 1;
            let from = (low(ax.min(bx)), low(ay.min(by)));
            let to = (high(ax.max(bx)), high(ay.max(by)));
            let _ = backend.draw_rect(from, to, &style.color, true);
        } else {
            let path = [(pixel(ax), pixel(ay)), (pixel(bx), pixel(by))];
            let _ = backend.draw_path(path, style);
        }
    }
}

/// Cuts a line into dashes of 5 with gaps of 4.
fn dashes(points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    const DASH: f64 = 5.0;
    const PERIOD: f64 = 9.0;
    let mut pieces = Vec::new();
    let mut travelled = 0.0;
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        let length = (bx - ax).hypot(by - ay);
        let along = |distance: f64| (ax + (bx - ax) * distance / length, ay + (by - ay) * distance / length);
        let mut distance = 0.0;
        while distance < length {
            let phase: f64 = (travelled + distance) % PERIOD;
            let rest = if phase < DASH { DASH - phase } else { PERIOD - phase };
            let end = (distance + rest.max(1e-6)).min(length);
            if phase < DASH {
                pieces.push(vec![along(distance), along(end)]);
            }
            distance = end;
        }
        travelled += length;
    }
    pieces
}

/// Each pixel the mean of four.
fn halved(pixels: &[u8], wide: usize, high: usize) -> Vec<u8> {
    let mut out = vec![255; wide / 2 * (high / 2) * 3];
    let mean = |one: u8, two: u8, three: u8, four: u8| {
        ((u16::from(one) + u16::from(two) + u16::from(three) + u16::from(four) + 2) / 4) as u8
    };
    for (row, rows) in out.chunks_exact_mut(wide / 2 * 3).zip(pixels.chunks_exact(wide * 3 * 2)) {
        let (upper, lower) = rows.split_at(wide * 3);
        for (pixel, (a, b)) in row.chunks_exact_mut(3).zip(upper.chunks_exact(6).zip(lower.chunks_exact(6))) {
            // Most of a picture is white already.
            if a != [255; 6] || b != [255; 6] {
                pixel[0] = mean(a[0], a[3], b[0], b[3]);
                pixel[1] = mean(a[1], a[4], b[1], b[4]);
                pixel[2] = mean(a[2], a[5], b[2], b[5]);
            }
        }
    }
    out
}

fn encode(pixels: &[u8], width: u32, height: u32, comment: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::FilterType::Up);
    encoder.set_compression(png::Compression::Default);
    let latin: String = comment.chars().map(|character| if character.is_ascii() { character } else { '?' }).collect();
    encoder.add_text_chunk("Comment".to_string(), latin).expect("the keyword is short and the text Latin");
    let mut writer = encoder.write_header().expect("memory takes the header");
    writer.write_image_data(pixels).expect("there are as many pixels as the header says");
    writer.finish().expect("memory takes the end");
    bytes
}
