//! The editor: what rust-analyzer is told about this workspace, the language server
//! protocol as far as a proxy needs it, and cargo's diagnostics as an editor wants them.
//! Pure; `exec::editor` and `exec::flycheck` do what is decided here.

mod flycheck;
mod frame;
mod proxy;
mod settings;

pub use flycheck::Merge;
pub use frame::{Decoder, encode};
pub use proxy::Proxy;
pub use settings::settings;
