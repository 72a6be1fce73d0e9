{{ featmill.publish(ref('feat_van__trips')) }}
