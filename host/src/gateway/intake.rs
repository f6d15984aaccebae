//! What a webhook route is made of.

use std::sync::Arc;

use super::product::Product;
use crate::base::names::RouteName;
use crate::config::plan;

/// A webhook route, ready to take requests.
#[derive(Debug)]
pub struct Intake {
    /// Its name.
    pub route: RouteName,
    /// Where its events go.
    pub product: Arc<Product>,
    /// What the configuration says of it.
    pub plan: plan::Webhook,
}
