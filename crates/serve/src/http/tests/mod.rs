//! Tests of the routes, over small models with known answers and without a network.
#![allow(clippy::unwrap_used)]

mod admin;
mod cost;
mod events;
mod observe;
mod openapi;
mod overload;
mod recommend;

use serde_json::Value;

fn items(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
}
