//! Plain MQTT devices as tools: a file says which topics and payloads make a tool, and a server on
//! the bus offers them. `docs/devices.md` describes the file.

mod call;
mod expose;
mod file;
mod handler;
mod problem;
mod tables;
mod template;
mod tool;
mod topics;
mod turns;

pub use expose::{ExposeDevices, expose_devices};
pub use file::Devices;
pub use problem::{Problem, WrongFile};
