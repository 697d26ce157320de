//! A struct that is read from a JSON object only.
//! A derived struct also accepts an array of its fields in order; a signature has one spelling, so that is refused.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A `T` that was written as a JSON object.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[derive(Deserialize)]
    struct Pair {
        a: u8,
        b: u8,
    }

    #[test_case(r#"{"a":1,"b":2}"# => Some(3); "an object")]
    #[test_case("[1,2]" => None; "an array")]
    #[test_case(r#"{"a":1,"a":1,"b":2}"# => None; "a key twice")]
    fn only_objects(text: &str) -> Option<u8> {
        serde_json::from_str::<Object<Pair>>(text)
            .ok()
            .map(|Object(pair)| pair.a + pair.b)
    }
}
