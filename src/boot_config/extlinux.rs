//! `extlinux.conf`: entries that begin with a label. The entry that is booted without a person's choice is edited.

use super::block;
use super::u_env::with_isolcpus;
use super::variables::{FDT, ISOLCPUS, Wanted};

/// The file with what is wanted in the entry that is booted. Error: there is none.
pub(super) fn edited(original: &[u8], wanted: &Wanted) -> Result<Vec<u8>, String> {
    let lines: Vec<&[u8]> = block::lines(original).collect();
    let words: Vec<(String, &[u8])> = lines.iter().map(|it| directive(it)).collect();
    let default = words.iter().find(|(word, _)| word == "default").map(|(_, name)| *name);
    let is_booted = |(word, name): &(String, &[u8])| word == "label" && default.is_none_or(|it| it == *name);
    let label = words.iter().position(is_booted);
    let Some(label) = label else {
        return Err("it has no entry of the name that `default` gives; correct it with an editor".to_owned());
    };
    let is_end = |(word, _): &(String, &[u8])| word == "label";
    let end = words.iter().skip(label + 1).position(is_end).map_or(lines.len(), |it| label + 1 + it);
    let is_replaced = |word: &str| match word {
        "append" => wanted.has(ISOLCPUS),
        "fdt" | "devicetree" => wanted.has(FDT),
        _ => false,
    };
    let parameters = words[label..end].iter().rfind(|(word, _)| word == "append").map(|(_, it)| *it).unwrap_or_default();
    let mut own: Vec<String> = wanted.values(FDT).iter().map(|it| format!("    fdt {it}")).collect();
    for value in wanted.values(ISOLCPUS) {
        own.push(format!("    append {}", with_isolcpus(&String::from_utf8_lossy(parameters), value)));
    }
    let mut file = Vec::with_capacity(original.len() + 512);
    for (at, line) in lines.iter().enumerate() {
        let is_in_entry = (label..end).contains(&at);
        if is_in_entry && is_replaced(&words[at].0) {
            block::disable(&mut file, line);
        } else {
            file.extend_from_slice(line);
        }
        if at == label {
            block::add(&mut file, &own);
        }
    }
    Ok(file)
}

/// The first word of a line, in lower case, and the rest. Both are empty for a comment.
fn directive(line: &[u8]) -> (String, &[u8]) {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return (String::new(), b"");
    }
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (String::from_utf8_lossy(&line[..end]).to_ascii_lowercase(), line[end..].trim_ascii_start())
}
