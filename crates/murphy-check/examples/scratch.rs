use murphy_check::{formats, model::{Model, understand}, models::KeyValue, search::*};
fn main() {
    for path in std::env::args().skip(1) {
        let recording = formats::read(std::fs::File::open(&path).unwrap(), &formats::Options::default()).unwrap();
        let mut model = KeyValue::default();
        let operations: Vec<_> = (0..).zip(&recording.invocations).filter_map(|(n, i)| understand(&mut model, &recording, n, i).unwrap()).collect();
        let began = std::time::Instant::now();
        let v = linearize(&model, &operations, &Limits { threads: 1, ..Limits::default() });
        println!("{path} parts {:?} {:?}", began.elapsed(), matches!(v.found, Found::Legal));
        let parts = parts(&model, &operations);
        for p in 0..parts.len() {
            let case = Case { initial: vec![model.initial()], operations: parts.of(p).iter().map(|i| &operations[*i as usize]).collect() };
            let began = std::time::Instant::now();
            let f = search_in_depth(&model, &case, &Limits { time: Some(std::time::Duration::from_secs(5)), ..Limits::default() });
            println!("   deep {p} {} {:?} {}", case.operations.len(), began.elapsed(), match f { Found::Legal => "legal".into(), Found::Illegal(_) => "illegal".into(), Found::Undecided{why, explored} => format!("{why} {explored}") });
        }
        let case = Case { initial: vec![model.initial()], operations: operations.iter().collect() };
        let began = std::time::Instant::now();
        let f = search(&model, &case, &Limits { time: Some(std::time::Duration::from_secs(15)), ..Limits::default() });
        println!("{path} whole {:?} {}", began.elapsed(), match f { Found::Legal => "legal".into(), Found::Illegal(_) => "illegal".into(), Found::Undecided{why, explored} => format!("{why} {explored}") });
    }
}
