//! Media: what flows between the ends of a call.
//!
//! Rooms: [`wire`] reads and writes RTP, RTCP, telephone events and session descriptions;
//! [`engine`] decides who is heard, where packets go and what two ends agree on, under a clock it is
//! given; `io` owns the ports and carries the packets. Media knows nothing of calls: what carries
//! signalling uses it as follows.
//!
//! # Once, at start
//!
//! [`Media::new`] gives a handle and its [`Shard`]s. Each shard is a child of the service: a task
//! that runs [`Shard::run`], and may run it again after it failed, with its sessions kept. Events
//! come by the channel given, which the service bounds and reads: they are for the engine what
//! messages are. What must not be lost ([`Event::Ended`], silence) is told again until there is
//! room; a locked source or a pressed key is not.
//!
//! # A call whose media is relayed
//!
//! All of these return at once, and wait for nothing: they may be called where messages are decided.
//!
//! 1. The INVITE's body is parsed ([`wire::sdp::Sdp::parse`]; 488 or 400 where it fails). For each
//!    stream that is to pass, [`Media::allocate`] with our two addresses: the one that the caller
//!    reaches us at, and the one that the callee does.
//! 2. [`engine::Remote::from_sdp`] with the source address of the INVITE, then
//!    [`Session::set_remote`] for [`engine::Side::A`]. What it refuses is answered 488.
//! 3. The offer goes on with our ports: [`engine::anchor`] with [`Session::anchor`] of
//!    [`engine::Side::B`] for each stream, `None` for those that are to be refused.
//! 4. Each answer (183 or 200): `set_remote` for side B, and `anchor` with side A's. RTCP is muxed
//!    towards a side where its own description has `rtcp-mux` ([`engine::Remote::mux`]).
//!    [`engine::payload_map`] and [`Session::set_payload_map`], once for each direction, where the
//!    answer numbers a codec differently.
//! 5. Re-INVITE and UPDATE do the same again. Hold needs nothing else: it is in the description's
//!    direction (or null address), stops the flow and suspends the timeout.
//! 6. At the end the [`Session`] is dropped. [`Event::Ended`] brings both legs' loss, jitter and MOS
//!    for the call's record. [`engine::relay::Event::Silent`] is the time to send BYE.
//!
//! A forked INVITE has one session for all branches: side B follows the description set last.
//!
//! # Secret media
//!
//! Keys of `a=crypto` are [`engine::srtp::sdes`]'s, to be offered and answered only where the
//! signalling is secret itself. [`Session::set_secure`] with both directions' keys comes before
//! `set_remote` of that side; the other side may be plain. Each leg is protected by itself, so
//! [`engine::srtp::sdes::describe`] takes the other end's keys out of an anchored description and
//! puts ours in. Without all this the ends' own keys pass, and media forwards what it cannot read.
//!
//! # A call that ends here
//!
//! [`Media::allocate_end`] has one side. [`engine::negotiate`] answers an offer (or makes one) with
//! our own capabilities; [`Session::set_voice`] with the [`engine::terminal::Voice`] that it came
//! to makes the end hear and speak: [`Session::play`] a prompt ([`audio::wav::read`]), a country's
//! tone ([`audio::tone::Country`]) or music for ever, [`Session::record`], [`Session::press`],
//! [`Session::join`] a conference. Keys come as [`engine::relay::Event::Key`], however they were
//! pressed; [`Event::Played`] is the end of what is played once.
//!
//! The same works on each side of a relayed call: music on hold is [`Session::play`] to the side
//! that waits, a recording takes both sides' voices, and [`Session::transcode`] joins sides that
//! have no codec in common.

pub mod audio;
pub mod engine;
mod io;
pub mod wire;

pub use io::{
    AllocateError, Busy, Channels, ConferenceId, Event, Media, Recorder, RefusedRemote, Report,
    Session, SessionId, Settings, Shard,
};

#[cfg(test)]
mod tests;
