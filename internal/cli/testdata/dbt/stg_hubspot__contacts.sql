-- Made by `hubpipe dbt`. Build on it rather than in it: --force writes it again.
select
    "id",
    "_hubpipe_seq",
    "_hubpipe_synced_at",
    "_hubpipe_created_at",
    "_hubpipe_updated_at",
    "email",
    "score",
    "opted_out",
    "born",
    "seen",
    "kinds"
from {{ source('hubspot', 'contacts') }}
where "_hubpipe_state" = 'live'
