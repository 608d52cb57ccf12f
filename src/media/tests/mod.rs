mod negotiate;
mod ports;
mod relay;
mod sdp;
mod sound;
