{{ featmill.publish(ref('feat_bike__rides')) }}
