//! The resolver as its clients see it, in a small Internet of its own on loopback addresses.

mod features;
mod recursion;
mod signed;
mod validation;
mod world;
