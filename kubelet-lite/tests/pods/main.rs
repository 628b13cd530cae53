//! Whole pods on the real kernel: sandbox, CNI bridge, runc, logs, restart of the kubelet, deletion. The API server is
//! the smallest thing that can play it: one table of objects by path.

mod api;
mod lifecycle;
mod probes;
mod resize;
mod static_pods;
mod volumes;
mod world;

fn main() {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| ["kubelet", "pause", "agnhost"].iter().any(|name| arg == name)) {
        if let Err(error) = knetsim_kubelet_lite::run(args[1..].to_vec()) {
            eprintln!("Error: {error:#}");
            std::process::exit(1);
        }
        return;
    }
    if args.iter().any(|arg| arg == "--list") {
        println!("pods: test");
        return;
    }
    kernel::testing::in_namespace("pods", || {
        let all = async {
            let node = world::node().await;
            lifecycle::a_pod_lives_and_dies(&node).await;
            lifecycle::exit_codes_restarts_and_messages(&node).await;
            lifecycle::a_terminal_is_one(&node).await;
            probes::a_probe_that_takes_too_long_leaves_nothing(&node).await;
            probes::who_is_not_ready_is_asked_again_soon(&node).await;
            probes::who_does_not_listen_yet_is_asked_again_within_the_turn(&node).await;
            lifecycle::pods_outlive_the_kubelet(&node).await;
            lifecycle::bad_images_and_missing_configuration(&node).await;
            volumes::image_volumes_are_folders_that_nobody_changes(&node).await;
            volumes::read_only_as_far_as_asked(&node).await;
            volumes::volumes_follow_what_they_mirror(&node).await;
            volumes::claims_outlive_their_pods(&node).await;
            resize::resizes_are_granted_and_told(&node).await;
            static_pods::files_are_pods_with_or_without_the_api(&node).await;
            world::nothing_is_left();
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(all);
        println!("test pods ... ok");
    });
}
