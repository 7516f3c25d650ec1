-- There is nothing to look at again here.

SELECT 1;
