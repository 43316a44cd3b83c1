//! An engine's list, read item by item as it arrives: an engine may have a thousand foreign containers, and the list of them
//! takes half a megabyte, as values ten times as much.

use serde_json::{Deserializer, Value};

/// What a list begins with, as engines write it. The list of volumes is a field of an object. What begins otherwise is read
/// as a whole.
const HEADS: [&[u8]; 2] = [b"[", br#"{"Volumes":["#];

/// The reader of a list that arrives in parts.
#[derive(Debug, Default)]
pub(super) struct ItemReader {
    /// What has arrived and was not read yet.
    rest: Vec<u8>,
    part: ListPart,
    /// An item that is not complete is parsed again once so much of it is here: its length doubles from attempt to attempt.
    wanted: usize,
}

/// Where in the list the reader is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ListPart {
    /// Before its items, or in a document that is read as a whole.
    #[default]
    Head,
    Items,
    /// After its end.
    Tail,
}

impl ItemReader {
    /// Reads a part of a list, and passes on the items that are complete. An error says what is wrong with the list.
    pub(super) fn read(&mut self, part: &[u8], each: &mut dyn FnMut(Value)) -> Result<(), String> {
        if self.part == ListPart::Tail {
            return Ok(());
        }
        self.rest.extend_from_slice(part);
        if self.part == ListPart::Head
            && let Some(head) = HEADS.iter().find(|it| self.rest.starts_with(it))
        {
            self.rest.drain(..head.len());
            self.part = ListPart::Items;
        }
        if self.part == ListPart::Items && self.rest.len() >= self.wanted { self.read_items(each) } else { Ok(()) }
    }

    /// The response ends here.
    pub(super) fn end(mut self, each: &mut dyn FnMut(Value)) -> Result<(), String> {
        if self.part == ListPart::Items {
            self.read_items(each)?;
        }
        match self.part {
            ListPart::Head => self.read_whole(each),
            ListPart::Items => Err("the list has no end".to_owned()),
            ListPart::Tail => Ok(()),
        }
    }

    fn read_items(&mut self, each: &mut dyn FnMut(Value)) -> Result<(), String> {
        let mut read = 0;
        self.wanted = 0;
        loop {
            let between = |it: &u8| it.is_ascii_whitespace() || *it == b',';
            read += self.rest[read..].iter().take_while(|it| between(it)).count();
            let rest = &self.rest[read..];
            if rest.first() == Some(&b']') {
                self.part = ListPart::Tail;
                self.rest = Vec::new();
                return Ok(());
            }
            let mut values = Deserializer::from_slice(rest).into_iter::<Value>();
            match values.next() {
                // After an item there is more: a number may go on in the next part.
                Some(Ok(item)) if values.byte_offset() < rest.len() => {
                    read += values.byte_offset();
                    each(item);
                }
                Some(Err(error)) if !error.is_eof() => return Err(error.to_string()),
                Some(Ok(_) | Err(_)) | None => break,
            }
        }
        self.rest.drain(..read);
        self.wanted = 2 * self.rest.len();
        Ok(())
    }

    fn read_whole(&self, each: &mut dyn FnMut(Value)) -> Result<(), String> {
        let mut whole: Value = serde_json::from_slice(&self.rest).map_err(|error| error.to_string())?;
        let list = match &mut whole {
            Value::Object(fields) => fields.get_mut("Volumes").map_or(Value::Null, Value::take),
            list => list.take(),
        };
        match list {
            Value::Array(items) => items.into_iter().for_each(each),
            Value::Null => {}
            _ => return Err("it is no list".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The items of a list that arrives in parts of so many bytes, and the most bytes that were held.
    fn items(text: &str, part: usize) -> (Result<Vec<Value>, String>, usize) {
        let (mut reader, mut read, mut most) = (ItemReader::default(), Vec::new(), 0);
        for part in text.as_bytes().chunks(part) {
            if let Err(error) = reader.read(part, &mut |it| read.push(it)) {
                return (Err(error), most);
            }
            most = most.max(reader.rest.capacity());
        }
        (reader.end(&mut |it| read.push(it)).map(|()| read), most)
    }

    #[test]
    fn a_list_has_the_same_items_however_it_is_cut() {
        let list = json!([{"a": "]},[\"\\ é"}, null, 7, [], {"b": {"c": [1, 2]}}, 12345, "text"]);
        let volumes = json!({"Volumes": list, "Warnings": ["]"]});
        for text in [list.to_string(), volumes.to_string(), format!("{list:#}"), format!(" {volumes:#}\n"), format!("{list}\n")]
        {
            for part in 1..=text.len() {
                assert_eq!(items(&text, part).0.unwrap(), *list.as_array().unwrap(), "{part}: {text}");
            }
        }
        for text in ["null", "[]", "[ ]", "{}", r#"{"Volumes":null,"Warnings":null}"#, r#"{"Volumes":[]}"#] {
            for part in 1..=text.len() {
                assert_eq!(items(text, part).0.unwrap(), [] as [Value; 0], "{part}: {text}");
            }
        }
    }

    #[test]
    fn what_is_no_whole_list_is_none() {
        for text in ["", "7", "\"[\"", "[1,2", "[{\"a\":1}", "[{\"a\":", "[}", "{\"Volumes\":7}", "{\"Volumes\":[1", "[tru]"] {
            for part in 1..=text.len().max(1) {
                assert!(items(text, part).0.is_err(), "{part}: {text}");
            }
        }
        assert!(items(&"[".repeat(100_000), 16 * 1024).0.is_err());
    }

    #[test]
    fn of_a_long_list_one_part_is_held_at_a_time() {
        let foreign = json!({"Id": "f".repeat(64), "Names": ["/foreign"], "Labels": {"text": "x".repeat(500)}}).to_string();
        let list = format!("[{}]", vec![foreign; 1000].join(","));
        let (read, most) = items(&list, 16 * 1024);
        assert_eq!(read.unwrap().len(), 1000);
        assert!(list.len() > 600_000 && most <= 64 * 1024, "{most} bytes of {}", list.len());
    }

    #[test]
    fn a_long_item_is_not_parsed_again_for_each_of_its_parts() {
        let list = format!("[\"{}\"]", "x".repeat(4 * 1024 * 1024));
        assert_eq!(items(&list, 64).0.unwrap().len(), 1);
    }
}
