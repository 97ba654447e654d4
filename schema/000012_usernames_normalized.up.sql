-- Usernames are in the normalization form NFKC, in which logins look them up: a name in full-width letters is no other
-- name. Of several names that are one in this form, one stays: the one that has the form already, or else the oldest.
-- The others keep what they are, and an administrator renames them.
UPDATE users u
SET username = normalize(u.username, NFKC)
WHERE u.username IS NOT NFKC NORMALIZED
  AND length(normalize(u.username, NFKC)) <= 150
  AND NOT EXISTS (
    SELECT FROM users o
    WHERE o.id <> u.id AND normalize(o.username, NFKC) = normalize(u.username, NFKC)
      AND (o.username IS NFKC NORMALIZED OR (o.created_at, o.id) < (u.created_at, u.id)));
