use tachograph::signal;

signal! {
    /// A share that may be more than the whole.
    pub distribution Share = "test.share" => "test.share" "1" {
        labels {}
        buckets (&[0.5, 1.0, 2.0])
        no_alert "a test"
    }
}

fn main() {}
