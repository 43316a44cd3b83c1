mod every_board;
mod recognition;
