//! Attachments: a client on the streams of a container.
