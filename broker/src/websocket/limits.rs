//! Bounds of WebSocket: what a peer may send before it is a WebSocket, and within its frames. Unit last.

/// Largest request that asks for WebSocket, in bytes: a browser's, with its cookies. A larger one is declined.
pub const UPGRADE_BYTES_MAX: usize = 8 * 1_024;
/// Most headers in it. With more, it is declined.
pub const UPGRADE_HEADERS_MAX: usize = 64;
/// Largest payload of a PING, PONG or CLOSE, in bytes (RFC 6455 §5.5). With more, the connection is closed.
pub const WEBSOCKET_CONTROL_BYTES_MAX: u64 = 125;
/// Most payload put into one frame, in bytes: with its header it fills one TLS record. What is more goes into the next.
pub const WEBSOCKET_FRAME_BYTES_MAX: usize = 16 * 1_024 - 10;
