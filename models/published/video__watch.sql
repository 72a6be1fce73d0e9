{{ featmill.publish(ref('feat_video__watch')) }}
