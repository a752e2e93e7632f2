use crate::limits::PARAMETERS_BYTES_MAX;
use crate::seal::KeyProvider;

/// Runs every check of a key provider. `makes` can make a seal; `opens` gives what opens a seal that `makes` made, with others that do not
/// share its memory; `strange` would open another one, or none.
pub async fn keys(
    makes: &dyn KeyProvider,
    opens: impl AsyncFn() -> Box<dyn KeyProvider>,
    strange: &dyn KeyProvider,
) {
    let (key, parameters) = makes.create().await.expect("a key for a new seal");
    assert!((1..=32).contains(&makes.method().len()), "a method's name has 1 to 32 bytes");
    assert!(makes.method().bytes().all(|byte| byte.is_ascii_graphic()), "and can be printed");
    assert!(parameters.len() <= PARAMETERS_BYTES_MAX, "parameters are within their limit");
    assert!(key.expose() != &[0; 32], "a key is hard to guess");
    let window = key.expose().first_chunk::<8>().unwrap();
    assert!(!parameters.windows(8).any(|part| part == window), "parameters do not hold the key");
    for _ in 0..2 {
        let opens = opens().await;
        assert_eq!(opens.method(), makes.method(), "what opens has the method of what made it");
        let again = opens.recover(&parameters).await.expect("the key again");
        assert!(again.expose() == key.expose(), "and it is the same one");
    }
    if let Ok(other) = strange.recover(&parameters).await {
        assert!(other.expose() != key.expose(), "what belongs elsewhere does not open it");
    }
    // Whatever a hostile store says, the answer is an error or a key, in good time.
    let opens = opens().await;
    for length in 0..parameters.len() {
        let cut = parameters.get(..length).unwrap();
        assert!(opens.recover(cut).await.is_err(), "parameters of {length} bytes are malformed");
    }
    let huge = vec![0xff; parameters.len()];
    assert!(opens.recover(&huge).await.is_err(), "numbers beyond every limit are refused");
}
