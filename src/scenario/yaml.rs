//! Text into a tree in which every node knows its place. The one function that reads YAML (and so JSON).
//!
//! In: bytes of a file. Out: documents, or problems with places. Anchors, aliases and merge keys (`<<`) are resolved here;
//! budgets keep hostile input (alias bombs, deep nesting, binary) to bounded time and memory. What a scalar means is for
//! the reader that knows which type it expects, so `off` and `1.10` arrive as they are written.

use super::diagnostic::{Diagnostic, FileId, Place, Problems};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest file, bytes.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 64;
/// Most nodes of a file, copies by aliases included.
pub const NODES_MAX: usize = 200_000;
/// Longest scalar, bytes.
pub const SCALAR_BYTES_MAX: usize = 64 << 10;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A scalar as written.
    Scalar(Scalar),
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order written, no key twice.
    Mapping(Vec<Entry>),
}

/// A scalar as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Its text, escapes resolved.
    pub text: Arc<str>,
    /// It is in quotes (or a block): a string whatever it looks like.
    pub quoted: bool,
}

/// An entry of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// An entry of a mapping by key; `None` for other nodes.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; empty for other nodes.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            Value::Null | Value::Scalar(_) | Value::Sequence(_) => &[],
        }
    }

    /// The items of a sequence; empty for other nodes.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence(items) => items,
            Value::Null | Value::Scalar(_) | Value::Mapping(_) => &[],
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Nothing is written.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What it is, for messages: `a mapping`, `the number 5`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_string(),
            Value::Sequence(_) => "a list".to_string(),
            Value::Mapping(_) => "a mapping".to_string(),
            Value::Scalar(scalar) => {
                let text: String = scalar.text.chars().take(60).collect();
                if scalar.quoted { format!("the text \"{text}\"") } else { format!("`{text}`") }
            }
        }
    }

    /// A tree of a JSON value, every node at `place`: for recorded cases that are read in another way.
    pub fn from_json(value: &serde_json::Value, place: Place) -> Node {
        let scalar = |text: String, quoted| Value::Scalar(Scalar { text: text.into(), quoted });
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => scalar(value.to_string(), false),
            serde_json::Value::Number(value) => scalar(value.to_string(), false),
            serde_json::Value::String(value) => scalar(value.clone(), true),
            serde_json::Value::Array(items) => {
                Value::Sequence(items.iter().map(|item| Node::from_json(item, place)).collect())
            }
            serde_json::Value::Object(object) => Value::Mapping(
                object
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.as_str().into(),
                        key_place: place,
                        value: Node::from_json(value, place),
                    })
                    .collect(),
            ),
        };
        Node { place, value }
    }
}

/// The text of a file: UTF-8 without NUL, within the size budget. A byte order mark is dropped.
///
/// # Errors
/// Code and message of what forbids reading it, and the byte where.
pub fn decode(bytes: &[u8]) -> Result<&str, (&'static str, String, usize)> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("file has {} bytes, more than the {} that are read", bytes.len(), FILE_BYTES_MAX);
        return Err(("E004", message, 0));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ("E003", "file is not UTF-8 text".to_string(), error.valid_up_to()))?;
    if let Some(at) = text.find('\0') {
        return Err(("E003", "file holds a NUL byte: it is not text".to_string(), at));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads all documents of a file. What is wrong goes to `problems`; a file with a syntax error gives the documents
/// before it.
pub fn parse(file: FileId, text: &str, problems: &mut Problems) -> Vec<Node> {
    let mut builder = Builder::new(file, text);
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_event() {
            None => break,
            Some(Err(error)) => {
                let place = builder.map.place(*error.marker(), *error.marker());
                problems.push(syntax_error(error.info(), place, text, builder.open_bracket(text)));
                break;
            }
            Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, span))) => {
                if let Err(diagnostic) = builder.event(event, span, problems) {
                    problems.push(*diagnostic);
                    break;
                }
            }
        }
    }
    builder.documents
}

/// Reads a text that holds one document, such as a recorded object.
pub fn parse_one(file: FileId, text: &str, problems: &mut Problems) -> Option<Node> {
    let mut documents = parse(file, text, problems);
    if documents.len() > 1 {
        problems.error("E005", documents[1].place, "one document is expected, a second begins here");
    }
    (!documents.is_empty()).then(|| documents.swap_remove(0))
}

fn syntax_error(info: &str, place: Place, text: &str, open: Option<(Place, char, char)>) -> Diagnostic {
    let line_start = text[..place.start as usize].rfind('\n').map_or(0, |at| at + 1);
    let lines = [line_start, text[line_start..].find('\n').map_or(line_start, |offset| line_start + offset + 1)];
    for start in lines {
        let blank = text[start..].bytes().take_while(|byte| *byte == b' ' || *byte == b'\t').count();
        if let Some(tab) = text[start..start + blank].find('\t') {
            let line = text[..start].bytes().filter(|&byte| byte == b'\n').count() as u32 + 1;
            let at = (start + tab) as u32;
            let place = Place { start: at, end: at + 1, line, column: tab as u32 + 1, ..place };
            return Diagnostic::error("E005", place, "a tab indents this line")
                .label("YAML allows only spaces here")
                .help("replace the tab by spaces");
        }
    }
    if info == "recursion limit exceeded" {
        return Diagnostic::error("E004", place, format!("nested deeper than {DEPTH_MAX} levels"));
    }
    let is_at_end = text[place.start as usize..].trim().is_empty();
    if let (true, Some((place, bracket, closing))) = (is_at_end, open) {
        return Diagnostic::error("E005", place, format!("this `{bracket}` is never closed"))
            .label(format!("`{closing}` is missing"));
    }
    let place = if is_at_end { last_of(text, place) } else { place };
    let info: String = info.chars().take(200).collect();
    let error = Diagnostic::error("E005", place, format!("this is not YAML: {info}"));
    match open {
        Some((Place { line, column, .. }, bracket, closing)) => error.help(format!(
            "the `{bracket}` at line {line}, column {column} is still open here: is its `{closing}` missing?"
        )),
        None => error,
    }
}

/// The last character that is written: where the end of a file is the fault, there is something to show.
fn last_of(text: &str, place: Place) -> Place {
    let written = text.trim_end();
    let Some(last) = written.chars().next_back() else { return place };
    let start = written.len() - last.len_utf8();
    let line_start = written[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[..start].bytes().filter(|&byte| byte == b'\n').count() as u32 + 1;
    let column = text[line_start..start].chars().count() as u32 + 1;
    Place { start: start as u32, end: written.len() as u32, line, column, ..place }
}

/// From the parser's character positions to bytes.
struct PlaceMap {
    file: FileId,
    length: usize,
    /// Byte of each character; `None` when all are ASCII.
    bytes: Option<Vec<u32>>,
}

impl PlaceMap {
    fn new(file: FileId, text: &str) -> PlaceMap {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| byte as u32).collect());
        PlaceMap { file, length: text.len(), bytes }
    }

    fn byte(&self, marker: Marker) -> u32 {
        match &self.bytes {
            None => marker.index().min(self.length) as u32,
            Some(bytes) => bytes.get(marker.index()).copied().unwrap_or(self.length as u32),
        }
    }

    fn place(&self, start: Marker, end: Marker) -> Place {
        let first = self.byte(start);
        Place {
            file: self.file,
            start: first,
            end: self.byte(end).max(first),
            line: start.line() as u32,
            column: start.col() as u32 + 1,
        }
    }
}

/// A collection that is still open.
struct Frame {
    place: Place,
    anchor: usize,
    nodes: usize,
    depth: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        seen: BTreeMap<Arc<str>, Place>,
        merges: Vec<Node>,
        key: Option<(Arc<str>, Place, bool)>,
    },
}

/// A finished node with the number of nodes in it and its height.
struct Sized {
    node: Node,
    nodes: usize,
    depth: usize,
}

struct Builder {
    map: PlaceMap,
    documents: Vec<Node>,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Sized>,
    nodes: usize,
}

impl Builder {
    fn new(file: FileId, text: &str) -> Builder {
        let map = PlaceMap::new(file, text);
        Builder { map, documents: Vec::new(), stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0 }
    }

    /// The innermost bracket that is still open, and what would close it.
    fn open_bracket(&self, text: &str) -> Option<(Place, char, char)> {
        self.stack.iter().rev().find_map(|frame| {
            let place = frame.place;
            let (bracket, closing) = match text.as_bytes().get(place.start as usize)? {
                b'{' => ('{', '}'),
                b'[' => ('[', ']'),
                _ => return None,
            };
            Some((Place { end: place.start + 1, ..place }, bracket, closing))
        })
    }

    fn event(&mut self, event: Event<'_>, span: Span, problems: &mut Problems) -> Result<(), Box<Diagnostic>> {
        let place = self.map.place(span.start, span.end);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(id) => self.alias(id, place, problems),
            Event::Scalar(text, style, anchor, tag) => {
                if text.len() > SCALAR_BYTES_MAX {
                    let message =
                        format!("a text of {} bytes, more than the {SCALAR_BYTES_MAX} that are read", text.len());
                    return Err(Box::new(Diagnostic::error("E004", Place { end: place.start, ..place }, message)));
                }
                let quoted = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                let value = if !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Scalar(Scalar { text: Arc::from(&*text), quoted })
                };
                self.finish(Sized { node: Node { place, value }, nodes: 1, depth: 0 }, anchor, 1, problems)
            }
            Event::SequenceStart(anchor, _) => self.open(place, anchor, Content::Sequence(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let content =
                    Content::Mapping { entries: Vec::new(), seen: BTreeMap::new(), merges: Vec::new(), key: None };
                self.open(place, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place, problems),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, content: Content) -> Result<(), Box<Diagnostic>> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(Box::new(Diagnostic::error("E004", place, format!("nested deeper than {DEPTH_MAX} levels"))));
        }
        self.stack.push(Frame { place, anchor, nodes: 1, depth: 0, content });
        Ok(())
    }

    fn close(&mut self, end: Place, problems: &mut Problems) -> Result<(), Box<Diagnostic>> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let mut place = frame.place;
        let value = match frame.content {
            Content::Sequence(items) => {
                place.end = items.last().map_or(end.end, |item| item.place.end).max(place.end);
                Value::Sequence(items)
            }
            Content::Mapping { mut entries, seen, merges, .. } => {
                place.end = entries.last().map_or(end.end, |entry| entry.value.place.end).max(place.end);
                merge(&mut entries, seen, merges, problems);
                Value::Mapping(entries)
            }
        };
        let sized = Sized { node: Node { place, value }, nodes: frame.nodes, depth: frame.depth };
        self.finish(sized, frame.anchor, 1, problems)
    }

    fn alias(&mut self, id: usize, place: Place, problems: &mut Problems) -> Result<(), Box<Diagnostic>> {
        let Some(known) = self.anchors.get(&id) else {
            return Err(Box::new(Diagnostic::error("E007", place, "an alias inside the very node that it names")));
        };
        if self.nodes + known.nodes > NODES_MAX {
            let message = format!("aliases blow this file up to more than {NODES_MAX} nodes");
            return Err(Box::new(Diagnostic::error("E004", place, message)));
        }
        if self.stack.len() + known.depth > DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels by aliases");
            return Err(Box::new(Diagnostic::error("E004", place, message)));
        }
        let copy = Sized { node: known.node.clone(), nodes: known.nodes, depth: known.depth };
        let added = copy.nodes;
        self.finish(copy, 0, added, problems)
    }

    /// Hands a finished node to the collection that holds it. `added` counts the nodes that are new with it.
    fn finish(
        &mut self,
        sized: Sized,
        anchor: usize,
        added: usize,
        problems: &mut Problems,
    ) -> Result<(), Box<Diagnostic>> {
        self.nodes += added;
        if self.nodes > NODES_MAX {
            let message = format!("file has more than {NODES_MAX} nodes");
            return Err(Box::new(Diagnostic::error("E004", sized.node.place, message)));
        }
        if anchor > 0 {
            let copy = Sized { node: sized.node.clone(), nodes: sized.nodes, depth: sized.depth };
            self.nodes += sized.nodes;
            self.anchors.insert(anchor, copy);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.documents.push(sized.node);
            return Ok(());
        };
        frame.nodes += sized.nodes;
        frame.depth = frame.depth.max(sized.depth + 1);
        match &mut frame.content {
            Content::Sequence(items) => items.push(sized.node),
            Content::Mapping { entries, seen, merges, key } => match key.take() {
                None => *key = Some(key_of(&sized.node)?),
                Some((_, _, true)) => merges.push(sized.node),
                Some((name, key_place, false)) => {
                    if let Some(&first) = seen.get(&name) {
                        let message = format!("the key `{name}` stands here twice");
                        let diagnostic = Diagnostic::error("E006", key_place, message)
                            .label("again")
                            .related(first, "first")
                            .help("remove one of them");
                        problems.push(diagnostic);
                    } else {
                        seen.insert(name.clone(), key_place);
                        entries.push(Entry { key: name, key_place, value: sized.node });
                    }
                }
            },
        }
        Ok(())
    }
}

/// The text of a key, and whether it is a merge key.
fn key_of(node: &Node) -> Result<(Arc<str>, Place, bool), Box<Diagnostic>> {
    match &node.value {
        Value::Scalar(scalar) => Ok((scalar.text.clone(), node.place, &*scalar.text == "<<" && !scalar.quoted)),
        Value::Null => Ok(("null".into(), node.place, false)),
        Value::Sequence(_) | Value::Mapping(_) => {
            let message = format!("{} cannot be a key", node.describe());
            Err(Box::new(Diagnostic::error("E005", node.place, message)))
        }
    }
}

/// Merge keys: what is written wins over what is merged, earlier merges win over later ones.
fn merge(entries: &mut Vec<Entry>, mut seen: BTreeMap<Arc<str>, Place>, merges: Vec<Node>, problems: &mut Problems) {
    for source in merges {
        let parts = match &source.value {
            Value::Sequence(parts) => parts.as_slice(),
            Value::Null | Value::Scalar(_) | Value::Mapping(_) => std::slice::from_ref(&source),
        };
        for part in parts {
            if !matches!(part.value, Value::Mapping(_)) {
                problems.error("E007", part.place, format!("`<<` merges mappings, this is {}", part.describe()));
            }
            for entry in part.entries() {
                if seen.insert(entry.key.clone(), entry.key_place).is_none() {
                    entries.push(entry.clone());
                }
            }
        }
    }
}
