#![no_main]

#[global_allocator]
static ALLOCATOR: vgg_fuzz::PeakAlloc = vgg_fuzz::PeakAlloc;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    vgg_fuzz::check(vgg_fuzz::target("png"), data, &vgg_fuzz::Limits::LENIENT);
});
