//! A language client, as small as the tests' questions.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the server may take for anything: reached only when it hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// LSP 3.17: the answer would be about a text that has changed meanwhile; ask again.
const CONTENT_MODIFIED: i64 = -32801;
const SERVER_CANCELLED: i64 = -32802;

/// A session with a server, which is killed when dropped.
pub struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    root: PathBuf,
    asked: i64,
}

impl Client {
    /// Starts a server, and waits until it has loaded the workspace at `root`.
    pub fn start(mut server: Command, root: &Path) -> Self {
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = server.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, messages) = channel();
        std::thread::spawn(move || {
            loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if stdout.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    match line.trim_end().strip_prefix("Content-Length: ") {
                        Some(n) => length = n.parse().unwrap(),
                        None if line == "\r\n" => break,
                        None => {}
                    }
                }
                let mut body = vec![0; length];
                stdout.read_exact(&mut body).unwrap();
                if send.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let mut client = Self { child, stdin, messages, root: root.to_owned(), asked: 0 };
        client.ask(
            "initialize",
            &json!({
                "processId": std::process::id(),
                "rootUri": client.uri(""),
                "capabilities": {
                    "experimental": {"serverStatusNotification": true},
                    "textDocument": {"diagnostic": {}},
                },
                // The tree is only read here.
                "initializationOptions": {"checkOnSave": false},
            }),
        );
        client.say(&json!({"method": "initialized", "params": {}}));
        loop {
            let message = client.hear();
            if message["method"] == "experimental/serverStatus" {
                assert_ne!(message["params"]["health"], "error", "{message}");
                if message["params"]["quiescent"] == true {
                    return client;
                }
            }
        }
    }

    /// Asks where the first `what` of the file `from` is defined: it must be in a file whose
    /// path ends in `to`, in the line that holds `definition`.
    #[track_caller]
    pub fn assert_definition(&mut self, from: &str, what: &str, to: &str, definition: &str) {
        let answer = self.ask("textDocument/definition", &self.place(from, what, 0));
        let place = answer.get(0).unwrap_or_else(|| panic!("{from}: {what} is not found"));
        let path = place["uri"].as_str().unwrap().strip_prefix("file://").unwrap();
        assert!(path.ends_with(to), "{from}: {what} is found in {path}");
        let line = usize::try_from(place["range"]["start"]["line"].as_u64().unwrap()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().nth(line).unwrap();
        assert!(line.contains(definition), "{from}: {what} is found in {path}: {line}");
    }

    /// Asks about the first `what` of the file `from`: the answer must hold `text`.
    #[track_caller]
    pub fn assert_hover(&mut self, from: &str, what: &str, text: &str) {
        let answer = self.ask("textDocument/hover", &self.place(from, what, 0));
        assert!(answer.to_string().contains(text), "{from}: about {what}: {answer}");
    }

    /// Asks what could follow the first `what` of the file `from`: `label` must be offered.
    #[track_caller]
    pub fn assert_completion(&mut self, from: &str, what: &str, label: &str) {
        let answer = self.ask("textDocument/completion", &self.place(from, what, what.len()));
        let items = answer.get("items").unwrap_or(&answer).as_array();
        let mut labels = items.into_iter().flatten().filter_map(|i| i["label"].as_str());
        assert!(labels.any(|l| l == label), "{from}: {what} is not completed by {label}: {answer}");
    }

    /// The parameters of a question about a place in a file: `after` bytes beyond the
    /// beginning of the first `what`.
    #[track_caller]
    fn place(&self, file: &str, what: &str, after: usize) -> Value {
        let text = std::fs::read_to_string(self.root.join(file)).unwrap();
        let found = text.lines().enumerate().find_map(|(n, l)| Some((n, l.find(what)?)));
        let (line, character) = found.unwrap_or_else(|| panic!("there is no {what} in {file}"));
        json!({
            "textDocument": {"uri": self.uri(file)},
            "position": {"line": line, "character": character + after},
        })
    }

    /// The server finds no error in `file`.
    #[track_caller]
    pub fn assert_no_error(&mut self, file: &str) {
        let params = json!({"textDocument": {"uri": self.uri(file)}});
        let answer = self.ask("textDocument/diagnostic", &params);
        let items = answer["items"].as_array().unwrap_or_else(|| panic!("{file}: {answer}"));
        // LSP 3.17, DiagnosticSeverity: 1 is an error.
        let errors: Vec<&Value> = items.iter().filter(|d| d["severity"] == 1).collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }

    /// Ends the session as an editor does.
    pub fn end(mut self) {
        self.ask("shutdown", &Value::Null);
        self.say(&json!({"method": "exit"}));
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    fn uri(&self, file: &str) -> String {
        format!("file://{}", self.root.join(file).display())
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        loop {
            self.asked += 1;
            let id = self.asked;
            self.say(&json!({"id": id, "method": method, "params": params}));
            let answer = loop {
                let message = self.hear();
                if message["id"] == id && message.get("method").is_none() {
                    break message;
                }
            };
            match answer["error"]["code"].as_i64() {
                None => return answer["result"].clone(),
                Some(CONTENT_MODIFIED | SERVER_CANCELLED) => {}
                Some(_) => panic!("{method}: {answer}"),
            }
        }
    }

    fn say(&mut self, message: &Value) {
        let mut message = message.clone();
        message["jsonrpc"] = "2.0".into();
        let body = message.to_string();
        write!(self.stdin.as_mut().unwrap(), "Content-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
    }

    /// The next message; questions of the server are answered with nothing.
    fn hear(&mut self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE).unwrap();
        if message.get("method").is_some()
            && let Some(id) = message.get("id")
        {
            self.say(&json!({"id": id, "result": null}));
        }
        message
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
