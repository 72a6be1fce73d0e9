-- One row per video, all released before the first day. Most are short.
create temp table videos as
select
    video_id,
    draw(video_id, 'duration') as shortness,
    [
        'electronics', 'fashion', 'home', 'books', 'grocery', 'beauty',
        'sports', 'toys', 'garden', 'music', 'office', 'pets'
    ][1 + pick(video_id, 'video_category', 12)] as category,
    cast(
        20 + floor(3600 * shortness * shortness * shortness) as integer
    ) as duration_seconds,
    timestamp '{{ start }}'
    - to_seconds(3600 + pick(video_id, 'released', 364 * 86400)) as released_at
from range(1, {{ [20, [events // 1000, 10000] | min] | max + 1 }}) as ids (video_id);

select
    video_id,
    ['Unboxing', 'How to choose', 'First look', 'Behind the scenes', 'Review', 'Five tips'][
        1 + pick(video_id, 'format', 6)
    ] || ': ' || category || ' ' || video_id as title,
    category,
    duration_seconds,
    released_at,
    released_at + to_milliseconds(1000 + pick(video_id, 'video_ingested', 300000)) as ingested_at
from videos
order by video_id;
