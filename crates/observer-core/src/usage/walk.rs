//! One pass over a JSON value that finds tokens and cost in it.

use std::borrow::Cow;

use super::deep;
use super::found::Found;
use super::frame::{Frame, is_numeric};
use super::list::{Items, Part};
use super::names::{Container, Context, Key, Normalized, Rank, container, is_copy, is_running};
use crate::scalar;
use crate::scan::Cursor;

/// Levels of objects below `usage`, the event or `extra` in which usage is looked for. Arrays are
/// no levels.
const MAX_LEVEL: u8 = 4;

/// Levels more in an object of usage, for `by_model` and a model.
const MORE_LEVELS: u8 = 2;

/// Levels of objects and arrays that the walk enters, details of usage and arrays included. It
/// bounds the recursion.
const MAX_NESTING: u8 = 12;

/// Members that are looked at in one place. A place with more of them is read in part.
const MAX_MEMBERS: u32 = 10_000;

/// Bytes that are read of one place. A place with more of them is read in part.
const MAX_BYTES: usize = 1 << 20;

/// What a place holds, as far as it was read.
pub(super) struct Walked {
    pub(super) found: Found,
    /// True if the walk ended early.
    pub(super) is_partial: bool,
}

/// Finds the usage in an object or array. Its names are read in this context.
pub(super) fn value(json: &str, context: Context) -> Walked {
    let mut walk = Walk::new(json);
    let place = Place { context, level: 0, nesting: 0 };
    let (found, ended) = walk.container(place);
    Walked { found, is_partial: ended.is_none() }
}

/// Finds the usage in those members of an event for which `is_read` is true.
pub(super) fn members(event: &str, is_read: impl Fn(&[u8]) -> bool) -> Walked {
    let mut walk = Walk::new(event);
    let mut frame = Frame::default();
    let place = Place { context: Context::Plain, level: 0, nesting: 0 };
    let ended = walk.members(&mut frame, place, is_read);
    Walked { found: frame.finish(place.context, true), is_partial: ended.is_none() }
}

/// Where an object or array stands.
#[derive(Clone, Copy)]
struct Place {
    context: Context,
    level: u8,
    nesting: u8,
}

impl Place {
    /// Returns the place of an object in a member of this one, if it is not too deep.
    fn below(self, context: Context) -> Option<Self> {
        let is_usage = matches!(self.context, Context::Usage | Context::Part);
        let max = MAX_LEVEL + if is_usage { MORE_LEVELS } else { 0 };
        let place = Self { level: self.level + 1, ..self.within(context)? };
        (place.level <= max).then_some(place)
    }

    /// Returns the place of a value that belongs to this object or array.
    fn within(self, context: Context) -> Option<Self> {
        let place = Self { context, nesting: self.nesting + 1, ..self };
        (place.nesting <= MAX_NESTING).then_some(place)
    }
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    members_left: u32,
}

impl<'a> Walk<'a> {
    fn new(json: &'a str) -> Self {
        Self { cursor: Cursor::new(json, MAX_BYTES), members_left: MAX_MEMBERS }
    }

    /// Reads an object or array, or skips another value. The second part is `None` if the walk
    /// ended.
    fn container(&mut self, place: Place) -> (Found, Option<()>) {
        match self.cursor.peek() {
            Some(b'{') => {
                let mut frame = Frame::default();
                let ended = self.members(&mut frame, place, |_| true);
                (frame.finish(place.context, place.level == 0), ended)
            }
            Some(b'[') => {
                let mut items = Items::default();
                let ended = self.items(&mut items, place);
                (items.finish(), ended)
            }
            _ => (Found::default(), self.cursor.skip().map(drop)),
        }
    }

    /// Reads the items of an array. Those that are attributes are the members of one object.
    fn items(&mut self, items: &mut Items, place: Place) -> Option<()> {
        let mut attributes = None;
        let ended = self.each_item(items, &mut attributes, place);
        if let Some(attributes) = attributes {
            items.add(attributes.finish(place.context, place.level == 0));
        }
        ended
    }

    fn each_item(
        &mut self,
        items: &mut Items,
        attributes: &mut Option<Frame<'a>>,
        place: Place,
    ) -> Option<()> {
        let mut is_item = self.cursor.enter()?;
        while is_item {
            self.members_left = self.members_left.checked_sub(1)?;
            match (self.cursor.peek()?, place.within(place.context)) {
                (b'{', Some(place)) => {
                    let mut frame = Frame::default();
                    let ended = self.members(&mut frame, place, |_| true);
                    if let (Some(name), Some(value)) = frame.attribute {
                        let attributes = attributes.get_or_insert_default();
                        scalar_member(attributes, name, value, place.context);
                    } else {
                        items.add(frame.finish(place.context, place.level == 0));
                    }
                    ended?;
                }
                (b'[', Some(place)) => {
                    let (found, ended) = self.container(place);
                    items.add(found);
                    ended?;
                }
                (b'{' | b'[', None) => {
                    let has_stray_tokens = deep::has_tokens(self.cursor.skip()?);
                    items.add(Found { has_stray_tokens, ..Found::default() });
                }
                _ => drop(self.cursor.skip()?),
            }
            is_item = self.cursor.advance()?;
        }
        Some(())
    }

    /// Reads the value of an attribute, if it is one: `{"intValue":"100"}`.
    fn attribute_value(&mut self, frame: &mut Frame<'a>) -> Option<()> {
        let mut is_member = self.cursor.enter()?;
        while is_member {
            self.members_left = self.members_left.checked_sub(1)?;
            let name = self.cursor.key()?;
            let value = self.cursor.skip()?;
            if matches!(name, "intValue" | "doubleValue" | "stringValue") {
                frame.attribute.1 = Some(value);
            }
            is_member = self.cursor.advance()?;
        }
        Some(())
    }

    /// Reads the members of an object.
    fn members(
        &mut self,
        frame: &mut Frame<'a>,
        place: Place,
        is_read: impl Fn(&[u8]) -> bool,
    ) -> Option<()> {
        let mut is_member = self.cursor.enter()?;
        while is_member {
            self.members_left = self.members_left.checked_sub(1)?;
            let name = self.cursor.key()?;
            if is_read(name.as_bytes()) {
                self.member(frame, name, place)?;
            } else {
                self.cursor.skip()?;
            }
            is_member = self.cursor.advance()?;
        }
        Some(())
    }

    /// Reads the value of a member.
    fn member(&mut self, frame: &mut Frame<'a>, name: &'a str, place: Place) -> Option<()> {
        if matches!(self.cursor.peek()?, b'{' | b'[') {
            return self.structure(frame, name, place);
        }
        let value = self.cursor.skip()?;
        scalar_member(frame, name, value, place.context);
        Some(())
    }

    /// Reads a member that is an object or array.
    fn structure(&mut self, frame: &mut Frame<'a>, name: &'a str, place: Place) -> Option<()> {
        if name == "value" && frame.attribute.0.is_some() && self.cursor.peek()? == b'{' {
            return self.attribute_value(frame);
        }
        let key = normalized(name).map(|(_, key)| key);
        let is_copy = || key.as_ref().is_some_and(is_copy);
        let held = key.as_ref().map_or(Container::Other, |key| container(key, place.context));
        match held {
            Container::Usage(rank, context) => {
                if let Some(place) = place.below(context) {
                    let (mut found, ended) = self.container(place);
                    if rank == Rank::Total && key.as_ref().is_some_and(is_running) {
                        found.part = Part::Running;
                    }
                    frame.siblings.add_once(rank, found, is_copy());
                    return ended;
                }
            }
            Container::Iterations => {
                if let Some(place) = place.below(place.context.of_part()) {
                    return self.iterations(frame, place);
                }
            }
            Container::Details(context) => return self.details(frame, context, place),
            Container::CacheDetails => return self.cache_details(frame),
            Container::Other if is_service_tier(key.as_ref()) => {
                return self.service_tier(frame, &key?);
            }
            Container::Other => {
                if let Some(place) = place.below(place.context.of_part()) {
                    let (found, ended) = self.container(place);
                    frame.siblings.add_once(Rank::Other, found, is_copy());
                    return ended;
                }
            }
            Container::Ignored => return self.cursor.skip().map(drop),
        }
        frame.has_deep_tokens |= deep::has_tokens(self.cursor.skip()?);
        Some(())
    }

    /// Reads the iterations of a request (Anthropic). The request's own counts leave out what a
    /// compaction or an advisor used.
    fn iterations(&mut self, frame: &mut Frame<'a>, place: Place) -> Option<()> {
        if self.cursor.peek()? != b'[' {
            return self.cursor.skip().map(drop);
        }
        let (mut all, mut left_out) = (Items::default(), Items::default());
        let ended = self.each_iteration(&mut all, &mut left_out, place);
        frame.left_out = Some(left_out.finish());
        frame.siblings.add(Rank::Other, all.finish());
        ended
    }

    fn each_iteration(
        &mut self,
        all: &mut Items,
        left_out: &mut Items,
        place: Place,
    ) -> Option<()> {
        let mut is_item = self.cursor.enter()?;
        while is_item {
            self.members_left = self.members_left.checked_sub(1)?;
            if self.cursor.peek()? == b'{' {
                let mut iteration = Frame::default();
                let ended = self.members(&mut iteration, place, |_| true);
                let is_left_out = iteration.is_left_out;
                let found = iteration.finish(place.context, false);
                all.add(found);
                if is_left_out {
                    left_out.add(found);
                }
                ended?;
            } else {
                self.cursor.skip()?;
            }
            is_item = self.cursor.advance()?;
        }
        Some(())
    }

    /// Reads details into the object that they belong to.
    fn details(&mut self, frame: &mut Frame<'a>, context: Context, place: Place) -> Option<()> {
        match (self.cursor.peek()?, place.within(context)) {
            (b'{', Some(place)) => self.members(frame, place, |_| true),
            // A list by modality says nothing new.
            _ => self.cursor.skip().map(drop),
        }
    }

    /// Reads Bedrock's `cacheDetails`: `[{"ttl":"1h","inputTokens":7}]`.
    fn cache_details(&mut self, frame: &mut Frame) -> Option<()> {
        if self.cursor.peek()? != b'[' {
            return self.cursor.skip().map(drop);
        }
        let mut is_item = self.cursor.enter()?;
        while is_item {
            if self.cursor.peek()? == b'{' {
                self.cache_detail(frame)?;
            } else {
                self.cursor.skip()?;
            }
            is_item = self.cursor.advance()?;
        }
        Some(())
    }

    fn cache_detail(&mut self, frame: &mut Frame) -> Option<()> {
        let (mut tokens, mut is_for_an_hour) = (0, false);
        let mut is_member = self.cursor.enter()?;
        while is_member {
            self.members_left = self.members_left.checked_sub(1)?;
            let key = normalized(self.cursor.key()?).map(|(_, key)| key);
            let value = self.cursor.skip()?;
            match key.as_ref().map(Key::as_bytes) {
                Some(b"inputtokens") => tokens = scalar::count(value).unwrap_or(0),
                Some(b"ttl") => is_for_an_hour = value == "\"1h\"",
                _ => {}
            }
            is_member = self.cursor.advance()?;
        }
        frame.cache_write(tokens, is_for_an_hour);
        Some(())
    }

    /// Reads Bedrock's `serviceTier`: `{"type":"flex"}`.
    fn service_tier(&mut self, frame: &mut Frame, key: &Key) -> Option<()> {
        if self.cursor.peek()? != b'{' {
            return self.cursor.skip().map(drop);
        }
        let mut is_member = self.cursor.enter()?;
        while is_member {
            self.members_left = self.members_left.checked_sub(1)?;
            let name = self.cursor.key()?;
            let value = self.cursor.skip()?;
            if name == "type"
                && let Some(tier) = scalar::unquoted(value)
            {
                frame.text(key, &tier);
            }
            is_member = self.cursor.advance()?;
        }
        Some(())
    }
}

/// Reads a member that is no object or array.
fn scalar_member<'a>(frame: &mut Frame<'a>, name: &'a str, value: &'a str, context: Context) {
    let first = value.as_bytes()[0];
    if matches!(first, b'n' | b'f') {
        return;
    }
    if first == b'"' {
        frame.label(name, value);
    } else if name == "value" {
        frame.attribute.1 = Some(value);
    }
    let is_text = first == b'"' && !may_be_number(value);
    if is_text && !Frame::reads_text(name) {
        return;
    }
    let Some((name, key)) = normalized(name) else { return };
    match first {
        b't' => frame.truth(&key),
        b'"' if is_text => frame.text(&key, &value[1..value.len() - 1]),
        _ => frame.number(&name, &key, value, context),
    }
}

fn is_service_tier(key: Option<&Key>) -> bool {
    key.is_some_and(|key| key.as_bytes() == b"servicetier")
}

/// Returns a key, if it can be a name: without its escapes, and normalized.
fn normalized(key: &str) -> Option<(Cow<'_, str>, Key)> {
    /// An escape has up to six characters (RFC 8259, section 7).
    const MAX_ESCAPED: usize = 6 * 64;
    match Key::of(key) {
        Normalized::Key(normal) => Some((Cow::Borrowed(key), normal)),
        Normalized::Escaped if key.len() <= MAX_ESCAPED => {
            let key: String = serde_json::from_str(&format!("\"{key}\"")).ok()?;
            match Key::of(&key) {
                Normalized::Key(normal) => Some((Cow::Owned(key), normal)),
                Normalized::NoName | Normalized::Escaped => None,
            }
        }
        Normalized::NoName | Normalized::Escaped => None,
    }
}

/// Returns whether a string may hold a number.
fn may_be_number(string: &str) -> bool {
    matches!(string.as_bytes().get(1), Some(b'0'..=b'9' | b'$' | b'+' | b'-' | b'.' | b' '))
        || is_numeric(string)
}
