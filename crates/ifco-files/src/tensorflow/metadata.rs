//! What Keras 2 tells of a model's layers beside a SavedModel: a text in JSON for each object, in
//! `keras_metadata.pb`, or before TensorFlow 2.5 in `saved_model.pb` itself.
//!
//! Source: Keras's `saved_metadata.proto`, TensorFlow's `saved_model.proto`, `meta_graph.proto` and
//! `saved_object_graph.proto`.

use crate::wire::{Message, Value, WireError};

/// The JSON of the model itself; `None` where Keras told nothing.
pub(super) fn of_metadata(message: Message<'_>) -> Result<Option<Message<'_>>, WireError> {
    for field in message.fields() {
        let (1, Value::Bytes(node)) = field? else {
            continue;
        };
        let (mut path, mut json, mut identifier) = (None, None, "");
        for field in node.fields() {
            match field? {
                (3, Value::Bytes(text)) => path = Some(text.text()?),
                (4, Value::Bytes(text)) => identifier = text.text()?,
                (5, Value::Bytes(text)) => json = Some(text),
                _ => {}
            }
        }
        if path == Some("root") && is_keras(identifier) {
            return Ok(json);
        }
    }
    Ok(None)
}

/// The same out of a `saved_model.pb`.
pub(super) fn of_saved_model(message: Message<'_>) -> Result<Option<Message<'_>>, WireError> {
    const META_GRAPHS: u64 = 2;
    const OBJECT_GRAPH: u64 = 7;
    const NODES: u64 = 1;
    const USER_OBJECT: u64 = 4;
    // The first object of the first graph is the root.
    let mut at = message;
    for number in [META_GRAPHS, OBJECT_GRAPH, NODES, USER_OBJECT] {
        match first(at, number)? {
            Some(inner) => at = inner,
            None => return Ok(None),
        }
    }
    let identifier = first(at, 1)?.map_or(Ok(""), Message::text)?;
    match is_keras(identifier) {
        true => Ok(first(at, 3)?.filter(|json| !json.bytes.is_empty())),
        false => Ok(None),
    }
}

/// `_tf_keras_model`, `_tf_keras_network`, `_tf_keras_sequential`.
fn is_keras(identifier: &str) -> bool {
    identifier.starts_with("_tf_keras_")
}

fn first(message: Message<'_>, wanted: u64) -> Result<Option<Message<'_>>, WireError> {
    for field in message.fields() {
        if let (number, Value::Bytes(inner)) = field?
            && number == wanted
        {
            return Ok(Some(inner));
        }
    }
    Ok(None)
}
