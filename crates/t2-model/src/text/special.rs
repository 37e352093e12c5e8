//! Special tokens that the files beside `tokenizer.json` name, whatever `tokenizer.json` itself says of them.

use tokenizers::AddedToken;

use super::vocabulary::beside::{Beside, spelling};

/// Keys of `tokenizer_config.json` and `special_tokens_map.json` that hold one token.
const ONE: [&str; 8] =
    ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token", "eot_token"];
/// Keys of the same files that hold several tokens: a list, or an object of named ones.
const SEVERAL: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
/// Keys whose token ends a text or a turn.
const ENDS: [&str; 2] = ["eos_token", "eot_token"];
/// What chat templates end a turn with, and nothing else.
const ENDS_OF_TURN: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|end|>", "<|end_of_turn|>", "<end_of_turn>", "<|endofturn|>"];

/// The special tokens of a checkpoint, by their text.
pub(super) struct Named {
    special: Vec<String>,
    ends: Vec<String>,
}

impl Named {
    /// What the files `beside` the vocabulary and the chat template `template` name.
    pub(super) fn read(beside: &Beside, template: &str) -> Self {
        let Beside { config, map, .. } = beside;
        let mut named = Self { special: vec![], ends: vec![] };
        for key in ONE {
            let Some(token) = beside.token(key) else { continue };
            named.special.push(token.to_owned());
            named.ends.extend(ENDS.contains(&key).then(|| token.to_owned()));
        }
        for value in [config, map].into_iter().flat_map(|file| SEVERAL.map(|key| &file[key])) {
            let listed = value.as_array().into_iter().flatten();
            let tokens = listed.chain(value.as_object().into_iter().flat_map(|named| named.values()));
            named.special.extend(tokens.filter_map(spelling).map(str::to_owned));
        }
        let decoder = config["added_tokens_decoder"].as_object().into_iter().flat_map(|tokens| tokens.values());
        let flagged = decoder.filter(|token| token["special"] == true);
        named.special.extend(flagged.filter_map(spelling).map(str::to_owned));
        named.end_turns_of(template);
        named
    }

    /// The tokens that a file gives by name: all that are special, and those of them that end a text.
    pub(super) fn of(special: Vec<String>, ends: Vec<String>, template: &str) -> Self {
        let mut named = Self { special, ends };
        named.end_turns_of(template);
        named
    }

    fn end_turns_of(&mut self, template: &str) {
        let turns = ENDS_OF_TURN.into_iter().filter(|end| template.contains(end));
        self.ends.extend(turns.map(str::to_owned));
    }

    /// Mark the tokens of `tokenizer` that are named here as special: they are then read whole and left out of texts.
    pub(super) fn mark(&self, tokenizer: &mut tokenizers::Tokenizer) {
        let known = tokenizer.get_added_tokens_decoder();
        let as_special = |token: &String| {
            let id = tokenizer.token_to_id(token)?;
            let flags = known.get(&id).cloned().unwrap_or_else(|| AddedToken::from(token.as_str(), true));
            Some(AddedToken { special: true, ..flags })
        };
        let special: Vec<AddedToken> = self.special.iter().filter_map(as_special).collect();
        tokenizer.add_special_tokens(&special);
    }

    /// Tokens that end a text or a turn.
    pub(super) fn ends(&self) -> impl Iterator<Item = &str> {
        self.ends.iter().map(String::as_str)
    }
}

/// Mark those of `ids` as special that were added to the vocabulary of `tokenizer`: they are then left out of texts.
pub(super) fn hide(tokenizer: &mut tokenizers::Tokenizer, ids: &[u32]) {
    let known = tokenizer.get_added_tokens_decoder();
    let added = ids.iter().filter_map(|id| known.get(id).cloned());
    let special: Vec<AddedToken> = added.map(|token| AddedToken { special: true, ..token }).collect();
    tokenizer.add_special_tokens(&special);
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use serde_json::{Value, json};

    /// Words of the vocabulary; their position is their id. Those in brackets are added tokens without the flag.
    const WORDS: [&str; 6] = ["word", "<|im_end|>", "<pad>", "<tool>", "</s>", "plain"];

    /// A tokenizer in a folder with `files`.
    fn tokenizer(files: &[(&str, Value)]) -> Tokenizer {
        let dir = tempfile::tempdir().unwrap();
        let vocab: Value = WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
        let added = |(id, word): (usize, &&str)| {
            json!({ "id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": false })
        };
        let added: Vec<Value> = WORDS.iter().enumerate().filter(|(_, word)| word.starts_with('<')).map(added).collect();
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "word" }
        });
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content.as_str().map_or(content.to_string(), str::to_owned)).unwrap();
        }
        Tokenizer::load(dir.path()).unwrap().unwrap()
    }

    /// Expect the text of all tokens, and which of them end a text, from a folder with `files`.
    #[track_caller]
    fn check(files: &[(&str, Value)], text: &str, ends: &[u32]) {
        let tokenizer = tokenizer(files);
        assert_eq!(tokenizer.decode(&[0, 1, 2, 3, 4, 5]).unwrap(), text);
        assert_eq!(tokenizer.end_tokens().collect::<Vec<_>>(), ends);
        assert_eq!(tokenizer.encode("word<|im_end|></s> plain").unwrap(), [0, 1, 4, 5], "they are read whole");
    }

    #[test]
    fn tokens_named_beside_the_tokenizer_are_no_text() {
        let config = |json: Value| ("tokenizer_config.json", json);
        let map = |json: Value| ("special_tokens_map.json", json);
        check(&[], "word <|im_end|> <pad> <tool> </s> plain", &[]);
        check(&[config(json!({ "eos_token": "<|im_end|>" }))], "word <pad> <tool> </s> plain", &[1]);
        check(
            &[map(json!({ "eos_token": { "content": "</s>" }, "pad_token": "<pad>" }))],
            "word <|im_end|> <tool> plain",
            &[4],
        );
        check(&[config(json!({ "eos_token": "plain" }))], "word <|im_end|> <pad> <tool> </s>", &[5]);
        check(
            &[config(json!({ "eos_token": "<nowhere>", "pad_token": null }))],
            "word <|im_end|> <pad> <tool> </s> plain",
            &[],
        );
        let several = json!({ "additional_special_tokens": ["<tool>", { "content": "<pad>" }] });
        check(&[config(several)], "word <|im_end|> </s> plain", &[]);
        let decoder = json!({ "added_tokens_decoder": { "3": { "content": "<tool>", "special": true }, "4": { "content": "</s>" } } });
        check(&[config(decoder)], "word <|im_end|> <pad> </s> plain", &[]);
    }

    #[test]
    fn a_turn_ends_where_the_template_ends_it() {
        let all = "word <|im_end|> <pad> <tool> </s> plain";
        let template = "{{ messages[0].content }}<|im_end|>\n";
        check(&[("chat_template.jinja", json!(template))], all, &[1]);
        check(&[("tokenizer_config.json", json!({ "chat_template": template }))], all, &[1]);
        check(&[("chat_template.jinja", json!("{{ messages[0].content }}<|eot_id|>"))], all, &[]);
    }

    #[test]
    fn what_ends_an_answer_can_be_hidden() {
        let mut tokenizer = tokenizer(&[]);
        tokenizer.hide(&[1, 5, 99]);
        assert_eq!(tokenizer.decode(&[0, 1, 5]).unwrap(), "word plain", "an ordinary word stays");
    }
}
