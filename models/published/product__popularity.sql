{{ featmill.publish(ref('feat_product__popularity')) }}
