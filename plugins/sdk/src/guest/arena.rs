//! The guest's allocator. A fresh instance serves each call, and what an instance costs is the pages it touches: so
//! everything is bumped off 24 KiB inside the one page that also holds the stack and the static data. Only what does
//! not fit there grows the memory.
//!
//! Invariant: `start..top` of a region is in use, `top..end` is free. Freeing the last block gives it back; freeing the
//! last one alive since [`settle`] gives back everything since, so that a kept instance does not grow from call to call.
#![allow(unsafe_code, reason = "a global allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;

const ARENA: usize = 24 * 1024;
const PAGE: usize = 64 * 1024;

#[repr(align(16))]
struct Memory(UnsafeCell<[u8; ARENA]>);

#[derive(Clone, Copy)]
struct Region {
    start: usize,
    top: usize,
    end: usize,
}

impl Region {
    const EMPTY: Self = Self { start: 0, top: 0, end: 0 };

    fn holds(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    fn bump(&mut self, layout: Layout) -> Option<usize> {
        let address = self.top.checked_next_multiple_of(layout.align())?;
        let top = address.checked_add(layout.size()).filter(|top| *top <= self.end)?;
        self.top = top;
        Some(address)
    }

    fn last(&self, address: usize, size: usize) -> bool {
        self.holds(address) && address + size == self.top
    }
}

struct State {
    arena: Region,
    /// What was grown, the newest piece. An older one that was full is left as it is.
    spill: Region,
    /// Where `arena` and `spill` stood at the last `settle`, and blocks alive since.
    settled: (usize, usize),
    alive: usize,
}

struct Arena(UnsafeCell<State>);

// SAFETY: a component instance has one thread; none of the functions below calls out while it holds the state.
unsafe impl Sync for Arena {}
// SAFETY: as above; the bytes are only handed out by `Arena`, each of them once.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; ARENA]));

#[global_allocator]
static ALLOCATOR: Arena =
    Arena(UnsafeCell::new(State { arena: Region::EMPTY, spill: Region::EMPTY, settled: (0, 0), alive: 0 }));

/// Keeps what is allocated now for as long as the instance lives: what a plugin configured.
pub(super) fn settle() {
    // SAFETY: one thread, and nothing else holds the state (see `Sync`).
    let state = unsafe { &mut *ALLOCATOR.0.get() };
    state.settled = (state.arena.top, state.spill.top);
    state.alive = 0;
}

impl State {
    fn allocate(&mut self, layout: Layout) -> Option<usize> {
        if self.arena.end == 0 {
            let start = MEMORY.0.get().expose_provenance();
            self.arena = Region { start, top: start, end: start + ARENA };
            self.settled.0 = start;
        }
        let address = self.arena.bump(layout).or_else(|| self.spill.bump(layout)).or_else(|| self.grow(layout))?;
        self.alive += usize::from(self.unsettled(address));
        Some(address)
    }

    fn grow(&mut self, layout: Layout) -> Option<usize> {
        let pages = layout.size().checked_add(layout.align())?.div_ceil(PAGE);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return None;
        }
        let start = before * PAGE;
        if start == self.spill.end {
            self.spill.end += pages * PAGE;
        } else {
            self.spill = Region { start, top: start, end: start + pages * PAGE };
            self.settled.1 = start;
        }
        self.spill.bump(layout)
    }

    fn unsettled(&self, address: usize) -> bool {
        let (arena, spill) = self.settled;
        (self.arena.holds(address) && address >= arena) || (self.spill.holds(address) && address >= spill)
    }

    fn free(&mut self, address: usize, size: usize) {
        if !self.unsettled(address) {
            return;
        }
        self.alive = self.alive.saturating_sub(1);
        if self.alive == 0 {
            (self.arena.top, self.spill.top) = self.settled;
        } else if self.arena.last(address, size) {
            self.arena.top = address;
        } else if self.spill.last(address, size) {
            self.spill.top = address;
        }
    }
}

// SAFETY: `allocate` hands out aligned, disjoint ranges of `MEMORY` or of memory it grew itself. `free` gives a range
// back only where it is the last of its region, or where no block handed out after it is alive.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and nothing else holds the state.
        let state = unsafe { &mut *self.0.get() };
        state.allocate(layout).map_or(std::ptr::null_mut(), std::ptr::with_exposed_provenance_mut)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { &mut *self.0.get() }.free(block.addr(), layout.size());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let state = unsafe { &mut *self.0.get() };
        let address = block.addr();
        let unsettled = state.unsettled(address);
        let region = if state.arena.holds(address) { &mut state.arena } else { &mut state.spill };
        if unsettled && region.last(address, layout.size()) && size <= region.end - address {
            region.top = address + size;
            return block;
        }
        // SAFETY: the caller's promise about `size`; the new block is fresh, so the two do not overlap.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
