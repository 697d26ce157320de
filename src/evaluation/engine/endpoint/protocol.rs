//! The words of the Open Inference Protocol v2: what a model says of itself, a request, an answer.
//! It reads and writes text; nothing is sent here.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::evaluation::{
    engine::SCORES,
    model::{Fault, ModelError, Rows, Scores},
};

/// What a model says it takes and gives.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    inputs: Vec<Tensor>,
    #[serde(default)]
    outputs: Vec<Tensor>,
}

/// A tensor in the metadata. Sides that vary are -1.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    #[serde(default)]
    shape: Vec<i64>,
}

#[derive(Serialize)]
struct Request<'a> {
    inputs: [Input<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<[Wanted<'a>; 1]>,
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    shape: Vec<usize>,
    datatype: &'a str,
    data: &'a [f32],
}

#[derive(Serialize)]
struct Wanted<'a> {
    name: &'a str,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    outputs: Vec<Output<'a>>,
}

#[derive(Deserialize)]
struct Output<'a> {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    // Read only of the output that is used: others may hold anything.
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Numbers, flat or in the rows of the shape: the protocol allows both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Flat(Vec<f32>),
    Rows(Vec<Vec<f32>>),
}

impl Metadata {
    /// Reads what `GET v2/models/NAME` answered.
    ///
    /// # Errors
    /// What is wrong and what to do, in words: it cannot be read, or there is not one input of FP32.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let metadata: Self = serde_json::from_slice(body).map_err(|error| {
            format!("what it says of itself cannot be read ({error}); check that it speaks the Open Inference Protocol v2")
        })?;
        match metadata.inputs.as_slice() {
            [Tensor { datatype, .. }] if datatype == "FP32" => Ok(metadata),
            [Tensor { name, datatype, .. }] => Err(format!(
                "its input {name} is {datatype}; only FP32 is filled, which JSON carries without loss"
            )),
            inputs => Err(format!(
                "it has {} inputs, and one is filled; serve it with one",
                inputs.len()
            )),
        }
    }

    /// Refuses rows that the model says it does not take.
    pub(super) fn check(&self, rows: Rows<'_>) -> Result<(), ModelError> {
        let Some(sides) = self.inputs.first().and_then(|input| input.shape.get(1..)) else {
            return Ok(());
        };
        let fits = |(takes, given): (&i64, &usize)| *takes < 0 || usize::try_from(*takes) == Ok(*given);
        if sides.len() == rows.shape().len() && sides.iter().zip(rows.shape()).all(fits) {
            return Ok(());
        }
        Err(ModelError::Inputs {
            takes: format!("{sides:?}"),
            given: format!("{:?}", rows.shape()),
        })
    }

    /// The only batch that the model takes, if it takes but one.
    pub(super) fn fixed_batch(&self) -> Option<usize> {
        let batch = self.inputs.first()?.shape.first()?;
        // Larger ones would have to be filled up; a model for one row is the common case.
        (*batch == 1).then_some(1)
    }

    /// The request for some rows.
    pub(super) fn request(&self, rows: Rows<'_>, output: Option<&str>) -> Result<String, serde_json::Error> {
        let input = self.inputs.first();
        let wanted = output.or_else(|| {
            let preferred = self.outputs.iter().find(|output| output.name == SCORES);
            preferred.map(|output| output.name.as_str())
        });
        serde_json::to_string(&Request {
            inputs: [Input {
                name: input.map_or("", |input| input.name.as_str()),
                shape: rows.batch_shape(),
                datatype: "FP32",
                data: rows.values(),
            }],
            outputs: wanted.map(|name| [Wanted { name }]),
        })
    }
}

/// The scores in an answer about so many rows. What cannot be read is a fault of every row.
pub(super) fn scores(body: &[u8], rows: usize, output: Option<&str>) -> Scores {
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
        return Scores::without(rows, Fault::Unreadable);
    };
    let floats = |output: &&Output<'_>| matches!(output.datatype.as_str(), "FP32" | "FP64");
    let mut found = answer.outputs.iter().filter(floats);
    let chosen = match output {
        Some(name) => found.find(|output| output.name == name),
        None => {
            let mut fitting = found
                .filter(|output| output.shape.len() == 2)
                .collect::<Vec<_>>()
                .into_iter();
            let first = fitting.next();
            match first {
                Some(first) if first.name == SCORES => Some(first),
                first => fitting.find(|output| output.name == SCORES).or(first),
            }
        }
    };
    let Some(Output { shape, data, .. }) = chosen else {
        return Scores::without(rows, Fault::Shape);
    };
    let [count, classes] = *shape.as_slice() else {
        return Scores::without(rows, Fault::Shape);
    };
    if count != rows {
        return Scores::without(rows, Fault::Shape);
    }
    match serde_json::from_str(data.get()) {
        Ok(Data::Flat(values)) => Scores::new(rows, classes, values),
        Ok(Data::Rows(values)) if values.iter().all(|row| row.len() == classes) => {
            Scores::new(rows, classes, values.concat())
        }
        Ok(Data::Rows(_)) => Scores::without(rows, Fault::Shape),
        Err(_) => Scores::without(rows, Fault::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_case::test_case;

    use super::*;

    fn input(datatype: &str, shape: &[i64]) -> serde_json::Value {
        json!({"inputs": [{"name": "image", "datatype": datatype, "shape": shape}], "outputs": []})
    }

    fn metadata(value: &serde_json::Value) -> Result<Metadata, String> {
        Metadata::read(value.to_string().as_bytes())
    }

    #[test_case(&input("FP32", &[-1, 1, 8, 8]), ""; "what we fill")]
    #[test_case(&input("FP16", &[-1, 8]), "is FP16; only FP32"; "half precision")]
    #[test_case(&json!({"inputs": []}), "it has 0 inputs"; "no input")]
    #[test_case(&json!({"name": "digits"}), "it has 0 inputs"; "nothing said of inputs")]
    #[test_case(&json!("hello"), "cannot be read"; "something else")]
    fn what_a_model_may_take(value: &serde_json::Value, words: &str) {
        match metadata(value) {
            Ok(_) => assert!(words.is_empty(), "{words}"),
            Err(problem) => assert!(!words.is_empty() && problem.contains(words), "{problem}"),
        }
    }

    #[test_case(&[-1, 2, 3], true; "as it says")]
    #[test_case(&[-1, -1, 3], true; "open")]
    #[test_case(&[], true; "it does not say")]
    #[test_case(&[-1, 6], false; "flat")]
    #[test_case(&[-1, 3, 2], false; "turned")]
    fn shapes(takes: &[i64], fits: bool) {
        let metadata = metadata(&input("FP32", takes)).unwrap();
        let values = [0.0; 6];
        assert_eq!(metadata.check(Rows::new(&[2, 3], &values).unwrap()).is_ok(), fits);
    }

    #[test]
    fn a_request_is_as_the_protocol_says() {
        let mut metadata = metadata(&input("FP32", &[-1, 2])).unwrap();
        let rows = Rows::new(&[2], &[0.1, 1.0, 0.0, 3.5]).unwrap();
        assert_eq!(
            metadata.request(rows, None).unwrap(),
            r#"{"inputs":[{"name":"image","shape":[2,2],"datatype":"FP32","data":[0.1,1.0,0.0,3.5]}]}"#
        );
        metadata.outputs.push(Tensor {
            name: "logits".into(),
            ..Tensor::default()
        });
        assert!(
            metadata
                .request(rows, None)
                .unwrap()
                .ends_with(r#""outputs":[{"name":"logits"}]}"#)
        );
        assert!(
            metadata
                .request(rows, Some("p"))
                .unwrap()
                .ends_with(r#""outputs":[{"name":"p"}]}"#)
        );
    }

    const GOOD: &str = r#"{"name":"p","datatype":"FP32","shape":[1,2],"data":[0.5,0.25]}"#;
    const BETTER: &str = r#"{"name":"logits","datatype":"FP32","shape":[1,2],"data":[1.0,2.0]}"#;
    const LABEL: &str = r#"{"name":"label","datatype":"BYTES","shape":[1],"data":["x"]}"#;

    #[test_case(&format!("[{GOOD}]"), None => Ok(vec![0.5, 0.25]); "the only one")]
    #[test_case(&format!("[{LABEL},{GOOD}]"), None => Ok(vec![0.5, 0.25]); "the first of floats")]
    #[test_case(&format!("[{GOOD},{BETTER}]"), None => Ok(vec![1.0, 2.0]); "the one called logits")]
    #[test_case(&format!("[{GOOD},{BETTER}]"), Some("p") => Ok(vec![0.5, 0.25]); "the one that was named")]
    #[test_case(&format!("[{GOOD}]"), Some("q") => Err(Fault::Shape); "not the one that was named")]
    #[test_case(r#"[{"name":"p","datatype":"FP64","shape":[1,2],"data":[[0.5,0.25]]}]"#, None => Ok(vec![0.5, 0.25]); "in rows")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,2],"data":[[0.5],[0.25]]}]"#, None => Err(Fault::Shape); "in other rows")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[2,2],"data":[1,2,3,4]}]"#, None => Err(Fault::Shape); "more rows than were asked for")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[2],"data":[1,2]}]"#, None => Err(Fault::Shape); "no rows")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,3],"data":[1,2]}]"#, None => Err(Fault::Shape); "fewer numbers than the shape says")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,2],"data":[null,2]}]"#, None => Err(Fault::Unreadable); "a hole")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,2],"data":[NaN,2]}]"#, None => Err(Fault::Unreadable); "as Python writes it")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,2],"data":["1",2]}]"#, None => Err(Fault::Unreadable); "numbers as text")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,2],"data":[1e60,2]}]"#, None => Err(Fault::NotFinite); "beyond all numbers")]
    #[test_case(r#"[{"name":"p","datatype":"FP32","shape":[1,-2],"data":[1,2]}]"#, None => Err(Fault::Unreadable); "a shape below nothing")]
    #[test_case("[]", None => Err(Fault::Shape); "no output")]
    #[test_case("7", None => Err(Fault::Unreadable); "another form")]
    fn answers(outputs: &str, output: Option<&str>) -> Result<Vec<f32>, Fault> {
        let body = format!(r#"{{"model_name":"m","outputs":{outputs}}}"#);
        scores(body.as_bytes(), 1, output).row(0).map(<[f32]>::to_vec)
    }
}
