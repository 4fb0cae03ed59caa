//! Reading the local logs of containers.
