mod month;
