//! What the daemon tells about itself: version, info, disk usage.
