//! What std asks a process for, answered without WASI: what is printed (a panic, most of all) goes to the gateway's log,
//! there is no environment, and leaving is a trap. Linked before the C library's own, these keep a plugin that uses nothing
//! else of WASI from importing it: some twenty imports that each fresh instance would pay for, and a sixth of its size.
//!
//! A plugin whose other code brings functions of these names turns the feature `process` off.
#![allow(unsafe_code, reason = "symbols that the C library would define")]

use core::ffi::{c_char, c_int};

use super::imports::tollgate::plugin::log::{Level, write as log};

/// The C library's `struct iovec`.
#[repr(C)]
struct Piece {
    start: *const u8,
    length: usize,
}

/// # Safety
/// As POSIX has it: `start..start + length` can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(_file: c_int, start: *const u8, length: usize) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    let printed = unsafe { core::slice::from_raw_parts(start, length) };
    let text = String::from_utf8_lossy(printed);
    text.lines().filter(|line| !line.is_empty()).for_each(|line| log(Level::Info, line));
    length.cast_signed()
}

/// # Safety
/// As POSIX has it: `count` pieces lie at `pieces`, each of which can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(file: c_int, pieces: *const Piece, count: c_int) -> isize {
    let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0) else { return 0 };
    // SAFETY: the caller's promise.
    let pieces = unsafe { core::slice::from_raw_parts(pieces, count) };
    // SAFETY: as above.
    pieces.iter().map(|piece| unsafe { write(file, piece.start, piece.length) }).sum()
}

#[unsafe(no_mangle)]
extern "C" fn getenv(_name: *const c_char) -> *mut c_char {
    core::ptr::null_mut()
}

#[unsafe(no_mangle)]
extern "C" fn abort() -> ! {
    core::arch::wasm32::unreachable()
}

#[unsafe(no_mangle)]
extern "C" fn exit(_status: c_int) -> ! {
    core::arch::wasm32::unreachable()
}
