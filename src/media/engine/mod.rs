//! Decisions about media: datagrams and time in, datagrams and events out. Knows no socket.

pub mod describe;
pub mod latch;
pub mod negotiate;
pub mod ports;
pub mod quality;
pub mod relay;
pub mod srtp;
pub mod terminal;

pub use describe::{Anchor, Remote, RemoteError, anchor, payload_map};
pub use negotiate::{Agreed, Capabilities, Local, NegotiationError};
pub use quality::Quality;
pub use relay::{Channel, Side};
pub use terminal::{Repeat, Terminal, Voice};
