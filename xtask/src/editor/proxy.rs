//! The proxy between an editor and rust-analyzer: it adds our settings wherever the server
//! gets settings (LSP 3.17): in `initialize`, and in the answers to
//! `workspace/configuration`. All other messages pass byte by byte.

use super::settings::overlay;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The section that rust-analyzer's settings stand in.
const SECTION: &str = "rust-analyzer";
/// Questions of the server that are remembered until the editor has answered them. An
/// editor that answers none must not fill the memory; the server has a few open at most.
const OPEN: usize = 256;

/// What the proxy knows of a session.
#[derive(Debug)]
pub struct Proxy {
    settings: Value,
    /// The server's open questions for settings, by id: for each item, whether it is ours.
    asked: BTreeMap<String, Vec<bool>>,
}

/// What tells messages apart, read without building the whole message.
#[derive(Deserialize)]
struct Head<'a> {
    id: Option<Value>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
}

fn head(body: &[u8]) -> Option<Head<'_>> {
    serde_json::from_slice(body).ok()
}

impl Proxy {
    /// A proxy that lays `settings` over the editor's.
    #[must_use]
    pub fn new(settings: Value) -> Self {
        Self { settings, asked: BTreeMap::new() }
    }

    /// A message of the editor, as the server gets it.
    pub fn editor_says(&mut self, body: Vec<u8>) -> Vec<u8> {
        let rewritten = head(&body).and_then(|head| match (head.method.as_deref(), head.id) {
            (Some("initialize"), _) => self.initialize(&body),
            (None, Some(id)) => {
                let ours = self.asked.remove(&id.to_string())?;
                self.configuration(&body, &ours)
            }
            _ => None,
        });
        rewritten.unwrap_or(body)
    }

    /// Sees a message of the server, which the editor gets as it is.
    pub fn server_says(&mut self, body: &[u8]) {
        let Some(Head { id: Some(id), method: Some(method) }) = head(body) else { return };
        if method != "workspace/configuration" {
            return;
        }
        let Ok(message) = serde_json::from_slice::<Value>(body) else { return };
        let items = message.pointer("/params/items").and_then(Value::as_array);
        let ours = |item: &Value| item.get("section").and_then(Value::as_str) == Some(SECTION);
        while self.asked.len() >= OPEN {
            self.asked.pop_first();
        }
        self.asked.insert(id.to_string(), items.into_iter().flatten().map(ours).collect());
    }

    fn initialize(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut message: Value = serde_json::from_slice(body).ok()?;
        let params = message.get_mut("params")?.as_object_mut()?;
        overlay(params.entry("initializationOptions").or_insert(Value::Null), &self.settings);
        serde_json::to_vec(&message).ok()
    }

    fn configuration(&self, body: &[u8], ours: &[bool]) -> Option<Vec<u8>> {
        let mut message: Value = serde_json::from_slice(body).ok()?;
        let answers = message.get_mut("result")?.as_array_mut()?;
        for (answer, _) in answers.iter_mut().zip(ours).filter(|(_, ours)| **ours) {
            overlay(answer, &self.settings);
        }
        serde_json::to_vec(&message).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn proxy() -> Proxy {
        Proxy::new(json!({"cargo": {"target": "T"}}))
    }

    fn through(proxy: &mut Proxy, message: &Value) -> Value {
        serde_json::from_slice(&proxy.editor_says(message.to_string().into_bytes())).unwrap()
    }

    #[test]
    fn initialize_brings_our_settings() {
        for options in [json!({}), json!({"initializationOptions": null})] {
            let message = json!({"id": 0, "method": "initialize", "params": options});
            let got = through(&mut proxy(), &message);
            assert_eq!(got["params"]["initializationOptions"]["cargo"]["target"], "T");
            assert_eq!((&got["id"], &got["method"]), (&0.into(), &"initialize".into()));
        }
    }

    #[test]
    fn answers_about_settings_bring_ours() {
        let mut proxy = proxy();
        let items = json!({"items": [{"section": "editor"}, {"section": "rust-analyzer"}]});
        let ask =
            |id: Value| json!({"id": id, "method": "workspace/configuration", "params": items});
        proxy.server_says(ask(7.into()).to_string().as_bytes());
        proxy.server_says(ask("7".into()).to_string().as_bytes());
        let answer =
            json!({"id": 7, "result": [{"tab": 4}, {"cargo": {"target": "U", "noDeps": true}}]});
        let got = through(&mut proxy, &answer);
        assert_eq!(got["result"], json!([{"tab": 4}, {"cargo": {"target": "T", "noDeps": true}}]));
        assert_eq!(through(&mut proxy, &answer), answer, "each question has one answer");
        let text = through(&mut proxy, &json!({"id": "7", "result": [null, null]}));
        assert_eq!(text["result"], json!([null, {"cargo": {"target": "T"}}]));
    }

    #[test]
    fn all_else_passes_byte_by_byte() {
        let mut proxy = proxy();
        for body in [
            &br#"{ "id": 1, "method":"textDocument/hover", "params":{} }"#[..],
            br#"{"method":"initialized"}"#,
            br#"{"id":7,"result":[{}]}"#,
            br#"{"id":7,"error":{"code":1}}"#,
            br#"{"method":"initialize"}"#,
            b"not json",
            b"",
        ] {
            assert_eq!(proxy.editor_says(body.to_vec()), body);
        }
    }

    #[test]
    fn questions_without_answers_are_forgotten() {
        let mut proxy = proxy();
        for id in 0..2 * OPEN {
            let ask = json!({"id": id, "method": "workspace/configuration", "params": {}});
            proxy.server_says(ask.to_string().as_bytes());
        }
        assert_eq!(proxy.asked.len(), OPEN);
    }
}
