{{ featmill.publish(ref('feat_dock__load')) }}
