{{ featmill.publish(ref('feat_rider__trips')) }}
