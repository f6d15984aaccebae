//! `[listener.NAME]`

use crate::config::plan::Listener;
use crate::config::raw::Section;

pub(super) fn read(table: &Section<'_>) -> Option<Listener> {
    let address = table.need("address", "for example address = \"0.0.0.0:8080\"", |item| item.address())?;
    Some(Listener { address })
}
