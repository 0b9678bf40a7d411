-- Made by `hubpipe dbt`. Build on it rather than in it: --force writes it again.
select
    "id",
    "_hubpipe_seq",
    "_hubpipe_synced_at",
    "_hubpipe_created_at",
    "_hubpipe_updated_at",
    "order",
    "Amount" as "amount",
    "amount" as "amount_2",
    "Größe in €" as "gr__e_in__",
    "a ""b"" `c` 'd' \" as "a__b___c___d___",
    "1st" as "_1st"
from {{ source('hubspot', 'eu-deals') }}
where "_hubpipe_state" = 'live'
