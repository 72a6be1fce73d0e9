{{ featmill.point_in_time(spine=ref('trn_breakdowns'), time='broke_at', features=[{'table': ref('bike__rides')}]) }}
