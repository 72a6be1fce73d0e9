{{ featmill.publish(ref('feat_customer__purchases')) }}
