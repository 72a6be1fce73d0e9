{{ featmill.publish(ref('feat_user__engagement')) }}
